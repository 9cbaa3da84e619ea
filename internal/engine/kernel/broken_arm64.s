//go:build brokenkernel

#include "textflag.h"

// func illegal()
TEXT ·illegal(SB), NOSPLIT, $0-0
	UNDEF
	RET
