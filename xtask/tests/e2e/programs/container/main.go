// A server for a container: the first process there, which no signal ends unless it says so. It
// stands on system calls alone, so that compiling it takes no time.
package main

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		_, _ = os.Stdout.WriteString("asked to stop\n")
		os.Exit(0)
	}()

	port, err := strconv.Atoi(os.Getenv("PORT"))
	check(err)
	listener, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	check(err)
	check(syscall.SetsockoptInt(listener, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	check(syscall.Bind(listener, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}))
	check(syscall.Listen(listener, 16))
	body := "from a container"
	answer := "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(body)) +
		"\r\nConnection: close\r\n\r\n" + body
	request := make([]byte, 4096)
	for {
		connection, _, err := syscall.Accept(listener)
		if err == syscall.EINTR {
			continue
		}
		check(err)
		// A client that went away does not matter.
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
