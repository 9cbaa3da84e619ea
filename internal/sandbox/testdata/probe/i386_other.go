//go:build !amd64

package main

func i386() string { select {} }
