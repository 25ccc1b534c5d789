module units

go 1.24
