module container

go 1.21
