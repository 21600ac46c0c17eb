//! Minus the logarithm in integers: the same on every processor and with every C library, which no `ln` promises.

/// Bits of the fraction that choose a table entry.
const INDEX_BITS: u32 = 10;

/// Above every [`minus_log2`] times a weight.
pub(super) const NEVER: u64 = 1 << 50;

/// log2(1 + i/1024) in 32-bit fixed point, for i from 0 to 1024.
static LOG2: [u64; (1 << INDEX_BITS) + 1] = table();

/// -log2((u + ½) / 2³²) with 32 bits after the point: what an exponentially distributed time is made of. Never rises with `u`;
/// within 2·10⁻⁷ of the true value.
pub(super) fn minus_log2(u: u32) -> u64 {
    let x = 2 * u64::from(u) + 1;
    let zeros = x.leading_zeros();
    // The fraction after the leading one, at the top of the word.
    let fraction = (x << zeros) << 1;
    let index = (fraction >> (64 - INDEX_BITS)) as usize;
    let rest = (fraction << INDEX_BITS) >> 32;
    let low = LOG2[index];
    let log = low + (((LOG2[index + 1] - low) * rest) >> 32);
    // x < 2^33 has at least 31 leading zeros; log2(x / 2^33) = (63 - zeros) - 33 + log2(1 + fraction).
    (u64::from(zeros - 30) << 32) - log
}

/// No more than [`minus_log2`] times 16, for much less work: -log2(1 - c) is at least c / ln 2, and 1 / ln 2 is above 23/16.
pub(super) fn minus_log2_times_16_at_least(u: u32) -> u64 {
    u64::from(!u) * 23
}

const fn table() -> [u64; (1 << INDEX_BITS) + 1] {
    let mut table = [0; (1 << INDEX_BITS) + 1];
    let mut i = 0;
    while i < table.len() - 1 {
        table[i] = log2_of_one_plus(i as u64);
        i += 1;
    }
    table[i] = 1 << 32;
    table
}

/// log2(1 + i/1024), bit by bit: squaring doubles the logarithm, and a square of 2 or more gives a one.
const fn log2_of_one_plus(i: u64) -> u64 {
    let mut x = (1u128 << 62) + ((i as u128) << (62 - INDEX_BITS));
    let mut log = 0;
    let mut bit = 32;
    while bit > 0 {
        bit -= 1;
        x = (x * x) >> 62;
        if x >= 1 << 63 {
            x >>= 1;
            log |= 1 << bit;
        }
    }
    log
}

#[cfg(test)]
mod tests {
    use super::{minus_log2, minus_log2_times_16_at_least};

    #[test]
    fn is_the_logarithm() {
        let all =
            (0..32).flat_map(|bit| [1u32 << bit, (1u32 << bit) - 1, (1u32 << bit) ^ 0x5a5a_5a5a]);
        for u in all.chain([u32::MAX, u32::MAX - 1]) {
            let exact = -((f64::from(u) + 0.5) / 2f64.powi(32)).log2();
            let ours = minus_log2(u) as f64 / 2f64.powi(32);
            assert!((exact - ours).abs() < 2e-7, "{u}: {exact} {ours}");
        }
    }

    #[test]
    fn never_rises() {
        let mut last = u64::MAX;
        for step in 0..1u32 << 20 {
            let log = minus_log2(step << 12 | 0x7ff);
            assert!(log < last, "{step}");
            assert!(
                minus_log2_times_16_at_least(step << 12 | 0x7ff) <= 16 * log,
                "{step}"
            );
            last = log;
        }
    }
}
