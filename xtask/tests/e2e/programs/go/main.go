// A server as `go run .` starts one: below a `go` that passes no signal on. It stands on system
// calls alone, so that compiling it takes no time.
package main

import (
	"os"
	"strconv"
	"syscall"
)

func main() {
	pid := strconv.Itoa(os.Getpid())
	pids := os.Getenv("PIDS")
	stat, err := os.ReadFile("/proc/self/stat")
	check(err)
	check(os.WriteFile(pids+"/."+pid, stat, 0o644))
	check(os.Rename(pids+"/."+pid, pids+"/"+pid))

	port, err := strconv.Atoi(os.Getenv("PORT"))
	check(err)
	listener, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	check(err)
	check(syscall.SetsockoptInt(listener, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	address := &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	check(syscall.Bind(listener, address))
	check(syscall.Listen(listener, 16))
	body := pid + " " + os.Getenv("GENERATION") + "\n"
	answer := "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(body)) +
		"\r\nConnection: close\r\n\r\n" + body
	request := make([]byte, 4096)
	for {
		connection, _, err := syscall.Accept(listener)
		if err == syscall.EINTR {
			continue
		}
		check(err)
		// A client that went away is none of our business.
		_, _ = syscall.Read(connection, request)
		_, _ = syscall.Write(connection, []byte(answer))
		_ = syscall.Close(connection)
	}
}

func check(err error) {
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}
