"""The papers' data sets: official archives, as they are downloaded, into class folders."""
