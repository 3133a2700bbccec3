"""t5g inside of other programs. Each module needs the package that it is named after, and only when it is used."""
