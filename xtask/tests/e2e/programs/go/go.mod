module core.test/program

go 1.21
