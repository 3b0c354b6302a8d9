"""Other people's advantage code, run where it lies: a target's name -> its rule -> what it maximises, with findings."""
