"""The command that turns official data sets into class folders."""
