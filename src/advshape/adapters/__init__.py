"""How do our advantages get into a trainer? One file or folder per trainer; the loop stays the trainer's.

Start at `trl.trainer`. `objective` is what most adapters share. Importing this package loads no trainer.
"""
