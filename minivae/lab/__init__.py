"""The laboratory: experiments on run folders, and what they say.

`minivae.evaluation` measures a model; here runs are trained, compared, judged and reported.
"""
