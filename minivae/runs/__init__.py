"""The run folder: all that a training run leaves behind, and the way back from it.

    config.json      what was asked for: model, data, training
    card.json        what it ran on: versions, threads, BLAS kernel, the data's SHA-256
    checkpoint.json  how far it came: the last and the best epoch's files, the history
    checkpoints/     epoch-N.npz: parameters and the optimiser's moments by name; no pickle, so
                     loading cannot run code
    history.csv      one row for each epoch, for a spreadsheet
    pictures/*.png

A folder is made anew and never overwrites another; every file appears whole or not at all; and
checkpoint.json changes only after the files that it names are there.

    files.py         atomic writing, sealed JSON
    folder.py        a new folder, its card, its history as CSV
    checkpoint.py    the state of a training run as one .npz and an entry in checkpoint.json
    loading.py       the way back
"""

from minivae.runs.checkpoint import Keeper, save, write_config
from minivae.runs.files import (
    FORMAT,
    claimed,
    read_sealed,
    write,
    write_figure,
    write_json,
    write_sealed,
)
from minivae.runs.folder import card, create, differences, read_history, write_history
from minivae.runs.loading import (
    Training,
    load_data,
    load_run,
    load_training,
    make_optimizer,
    read_card,
)

__all__ = [
    "FORMAT",
    "Keeper",
    "Training",
    "card",
    "claimed",
    "create",
    "differences",
    "load_data",
    "load_run",
    "load_training",
    "make_optimizer",
    "read_card",
    "read_history",
    "read_sealed",
    "save",
    "write",
    "write_config",
    "write_figure",
    "write_history",
    "write_json",
    "write_sealed",
]
