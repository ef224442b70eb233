// Package glippy stands in for the clipboard module that process-compose depends on. It copies
// through the terminal itself (escape sequence OSC 52), so it needs no program of the desktop and
// works over ssh. Only the copy key of the text interface uses it.
package glippy

import (
	"encoding/base64"
	"fmt"
	"os"
)

// Method names a way to copy. This module has one.
type Method int

// MethodOSC52 asks the terminal to put the text on the clipboard.
const MethodOSC52 Method = iota

// Set puts text on the clipboard.
func Set(text string) error {
	_, err := SetWithMethod(text)
	return err
}

// SetWithMethod puts text on the clipboard and says how it was done.
func SetWithMethod(text string) (Method, error) {
	terminal, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0)
	if err != nil {
		return MethodOSC52, fmt.Errorf("no terminal to copy through: %w", err)
	}
	defer terminal.Close()
	encoded := base64.StdEncoding.EncodeToString([]byte(text))
	_, err = fmt.Fprintf(terminal, "\x1b]52;c;%s\a", encoded)
	return MethodOSC52, err
}
