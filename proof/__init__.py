"""The promises of the project, tried by force, with figures at the end; see README.md."""
