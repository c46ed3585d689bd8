"""Speed on this machine: standard cases against floors and against what else is installed.

`cases` says what is computed, `floors` what the machine could do at best, `peers` how other
libraries compute the same, `run` times all of them in turn, `curves` does so for kernels of growing
size, and `picture` draws these.
"""
