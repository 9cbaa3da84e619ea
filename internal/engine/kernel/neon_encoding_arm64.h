// Vector instructions that Go's assembler does not know, as words, and a few it
// knows, so that macros can name every register by its number. Operands come in
// Go's order, the destination last; behind each is what a disassembler says it
// is, d, n and m being the numbers. TestNEONEncodings asks one.

// Four float32.
#define FADD4(m, n, d) WORD $(0x4e20d400 | (m)<<16 | (n)<<5 | (d)) // fadd v{d}.4s, v{n}.4s, v{m}.4s
#define FSUB4(m, n, d) WORD $(0x4ea0d400 | (m)<<16 | (n)<<5 | (d)) // fsub v{d}.4s, v{n}.4s, v{m}.4s
#define FMUL4(m, n, d) WORD $(0x6e20dc00 | (m)<<16 | (n)<<5 | (d)) // fmul v{d}.4s, v{n}.4s, v{m}.4s
#define FDIV4(m, n, d) WORD $(0x6e20fc00 | (m)<<16 | (n)<<5 | (d)) // fdiv v{d}.4s, v{n}.4s, v{m}.4s
#define FMAX4(m, n, d) WORD $(0x4e20f400 | (m)<<16 | (n)<<5 | (d)) // fmax v{d}.4s, v{n}.4s, v{m}.4s
#define FMIN4(m, n, d) WORD $(0x4ea0f400 | (m)<<16 | (n)<<5 | (d)) // fmin v{d}.4s, v{n}.4s, v{m}.4s
#define FMLA4(m, n, d) WORD $(0x4e20cc00 | (m)<<16 | (n)<<5 | (d)) // fmla v{d}.4s, v{n}.4s, v{m}.4s
#define FMLA4X(m, n, d) WORD $(0x4f801000 | (m)<<16 | (n)<<5 | (d)) // fmla v{d}.4s, v{n}.4s, v{m}.s[0]
#define FCMGT4(m, n, d) WORD $(0x6ea0e400 | (m)<<16 | (n)<<5 | (d)) // fcmgt v{d}.4s, v{n}.4s, v{m}.4s
#define FNEG4(n, d) WORD $(0x6ea0f800 | (n)<<5 | (d)) // fneg v{d}.4s, v{n}.4s
#define FRINTN4(n, d) WORD $(0x4e218800 | (n)<<5 | (d)) // frintn v{d}.4s, v{n}.4s
#define FCVTNS4(n, d) WORD $(0x4e21a800 | (n)<<5 | (d)) // fcvtns v{d}.4s, v{n}.4s
#define FMAXV(n, d) WORD $(0x6e30f800 | (n)<<5 | (d)) // fmaxv s{d}, v{n}.4s
#define FADDP2(n, d) WORD $(0x7e30d800 | (n)<<5 | (d)) // faddp s{d}, v{n}.2s

// Two float64.
#define FCVTL(n, d) WORD $(0x0e617800 | (n)<<5 | (d)) // fcvtl v{d}.2d, v{n}.2s
#define FCVTL2(n, d) WORD $(0x4e617800 | (n)<<5 | (d)) // fcvtl2 v{d}.2d, v{n}.4s
#define FADD64(m, n, d) WORD $(0x4e60d400 | (m)<<16 | (n)<<5 | (d)) // fadd v{d}.2d, v{n}.2d, v{m}.2d
#define FMLA64(m, n, d) WORD $(0x4e60cc00 | (m)<<16 | (n)<<5 | (d)) // fmla v{d}.2d, v{n}.2d, v{m}.2d
#define FADDP64(n, d) WORD $(0x7e70d800 | (n)<<5 | (d)) // faddp d{d}, v{n}.2d

// Four integers, and bits.
#define ADD4(m, n, d) WORD $(0x4ea08400 | (m)<<16 | (n)<<5 | (d)) // add v{d}.4s, v{n}.4s, v{m}.4s
#define SUB4(m, n, d) WORD $(0x6ea08400 | (m)<<16 | (n)<<5 | (d)) // sub v{d}.4s, v{n}.4s, v{m}.4s
#define HALF4(n, d) WORD $(0x4f3f0400 | (n)<<5 | (d)) // sshr v{d}.4s, v{n}.4s, #1
#define EXPONENT4(n, d) WORD $(0x4f375400 | (n)<<5 | (d)) // shl v{d}.4s, v{n}.4s, #23
#define BIC(m, n, d) WORD $(0x4e601c00 | (m)<<16 | (n)<<5 | (d)) // bic v{d}.16b, v{n}.16b, v{m}.16b
#define COPY(n, d) WORD $(0x4ea01c00 | (n)<<16 | (n)<<5 | (d)) // mov v{d}.16b, v{n}.16b

// Codes: four words, or the lower and the upper half of a register made wider.
#define AND16(m, n, d) WORD $(0x4e201c00 | (m)<<16 | (n)<<5 | (d)) // and v{d}.16b, v{n}.16b, v{m}.16b
#define NIBBLE4(n, d) WORD $(0x6f3c0400 | (n)<<5 | (d)) // ushr v{d}.4s, v{n}.4s, #4
#define SCVTF4(n, d) WORD $(0x4e21d800 | (n)<<5 | (d)) // scvtf v{d}.4s, v{n}.4s
#define SXTL8(n, d) WORD $(0x0f08a400 | (n)<<5 | (d)) // sxtl v{d}.8h, v{n}.8b
#define SXTL28(n, d) WORD $(0x4f08a400 | (n)<<5 | (d)) // sxtl2 v{d}.8h, v{n}.16b
#define SXTL4(n, d) WORD $(0x0f10a400 | (n)<<5 | (d)) // sxtl v{d}.4s, v{n}.4h
#define SXTL24(n, d) WORD $(0x4f10a400 | (n)<<5 | (d)) // sxtl2 v{d}.4s, v{n}.8h
#define SHLL4(n, d) WORD $(0x2e613800 | (n)<<5 | (d)) // shll v{d}.4s, v{n}.4h, #16
#define SHLL24(n, d) WORD $(0x6e613800 | (n)<<5 | (d)) // shll2 v{d}.4s, v{n}.8h, #16
#define FCVTL4(n, d) WORD $(0x0e217800 | (n)<<5 | (d)) // fcvtl v{d}.4s, v{n}.4h
#define FCVTL24(n, d) WORD $(0x4e217800 | (n)<<5 | (d)) // fcvtl2 v{d}.4s, v{n}.8h
