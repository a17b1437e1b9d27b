package http1

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The first of a name's two addresses drops SYNs, as that of a VPC endpoint does in a
// zone that is down. A listener with a full queue stands in for it.
func TestAnAddressThatDropsSYNsCostsTwoSeconds(t *testing.T) {
	s := newRaw(t, good)
	port := s.Addr().(*net.TCPAddr).Port
	full := [4]byte{127, 0, 0, 2}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer syscall.Close(fd)
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: full}))
	require.NoError(t, syscall.Listen(fd, 0))
	for range 8 {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.2:%d", port), 100*time.Millisecond)
		if err != nil {
			break
		}
		defer c.Close()
	}

	dialer := newDialer()
	dialer.Resolver = nameServer(t, full, [4]byte{127, 0, 0, 1})
	transport := New(nil, dialer.DialContext)
	start := time.Now()
	got, err := post(t, clientOf(transport), fmt.Sprintf("http://sts.test:%d/", port), 4*time.Second)
	require.NoError(t, err)
	assert.Equal(t, "200 well", got)
	assert.GreaterOrEqual(t, time.Since(start), 1900*time.Millisecond, "the first address was tried")
}

// nameServer returns a name server that has one name with these addresses.
func nameServer(t *testing.T, addresses ...[4]byte) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	go func() {
		for buffer := make([]byte, 512); ; {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(dnsAnswer(buffer[:n], addresses), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// dnsAnswer answers a question (RFC 1035) with the addresses if it asks for them.
func dnsAnswer(question []byte, addresses [][4]byte) []byte {
	end := 12
	for question[end] != 0 { // the labels of the name
		end += int(question[end]) + 1
	}
	end++
	if binary.BigEndian.Uint16(question[end:]) != 1 { // A
		addresses = nil
	}
	answer := append([]byte{}, question[:2]...)
	answer = append(answer, 0x81, 0x80, 0, 1, 0, byte(len(addresses)), 0, 0, 0, 0) // the header
	answer = append(answer, question[12:end+4]...)
	for _, a := range addresses {
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4) // the name, A, IN, a second, 4 bytes
		answer = append(answer, a[:]...)
	}
	return answer
}
