/* Bounded reading of bytes in memory. */
#include "base/base.h"

byte_reader reader_of(const void *bytes, size_t n)
{
    return (byte_reader){bytes, n, false};
}

byte_reader reader_take(byte_reader *r, size_t n)
{
    if (n > r->n) {
        *r = (byte_reader){r->p + r->n, 0, true};
        return *r;
    }
    byte_reader piece = {r->p, n, false};
    r->p += n;
    r->n -= n;
    return piece;
}

static uint64_t little(byte_reader *r, unsigned bytes)
{
    byte_reader piece = reader_take(r, bytes);
    uint64_t v = 0;
    for (size_t i = piece.n; i-- > 0;) v = v << 8 | piece.p[i];
    return v;
}

uint8_t reader_u8(byte_reader *r) { return (uint8_t)little(r, 1); }
uint16_t reader_u16(byte_reader *r) { return (uint16_t)little(r, 2); }
uint32_t reader_u32(byte_reader *r) { return (uint32_t)little(r, 4); }
uint64_t reader_u64(byte_reader *r) { return little(r, 8); }

uint32_t reader_u32_big(byte_reader *r)
{
    uint32_t v = reader_u32(r);
    return v << 24 | (v & 0xFF00) << 8 | (v >> 8 & 0xFF00) | v >> 24;
}
