//! Datagrams of one flow that came one after another leave as one train, which the kernel or the device splits again: one way through
//! the stack instead of one for each. What is on the wire is the same.

use crate::sys::udp::MAX_SEGMENTS;

/// The longest datagram that is joined with others, headers off: of an Ethernet of 1,500 bytes. Of longer ones the kernel refuses trains.
pub(super) const LONGEST: usize = 1472;

/// Bytes of a train: those of the longest datagram that there can be.
const MOST: usize = 65_507;

/// A datagram, or a train that has come as one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) len: usize,
    /// 0 is one datagram.
    pub(super) segment: usize,
    pub(super) ecn: u8,
}

/// How many of the first pieces leave as one train: all of them have one size, but for the last one, which may be shorter. Each gets a
/// header of `header` bytes. One, where nothing can be joined.
pub(super) fn joined(
    mut pieces: impl Iterator<Item = Piece>,
    header: usize,
    longest: usize,
) -> usize {
    let Some(first) = pieces.next() else {
        return 0;
    };
    if first.segment > 0 || first.len == 0 || first.len + header > longest {
        return 1;
    }
    let mut count = 1;
    let mut bytes = first.len + header;
    for piece in pieces {
        bytes += piece.len + header;
        let alike = piece.segment == 0 && piece.ecn == first.ecn;
        let fits = (1..=first.len).contains(&piece.len) && bytes <= MOST;
        if !alike || !fits || count == MAX_SEGMENTS {
            break;
        }
        count += 1;
        if piece.len < first.len {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_together() {
        let of = |lens: &[usize]| -> Vec<Piece> {
            let piece = |len: &usize| Piece {
                len: *len,
                segment: 0,
                ecn: 0,
            };
            lens.iter().map(piece).collect()
        };
        let count = |pieces: &[Piece], header| joined(pieces.iter().copied(), header, LONGEST);
        // lengths, header, how many go first
        let table: [(&[usize], usize, usize); 9] = [
            (&[], 0, 0),
            (&[1200], 0, 1),
            (&[1200, 1200, 1200], 0, 3),
            (&[1200, 1200, 300, 300], 0, 3),
            (&[1200, 1201], 0, 1),
            (&[0, 0], 0, 1),
            (&[1200, 0], 0, 1),
            (&[1472, 1472], 0, 2),
            (&[1472, 1472], 28, 1),
        ];
        for (lens, header, expected) in table {
            assert_eq!(count(&of(lens), header), expected, "{lens:?} {header}");
        }
        assert_eq!(count(&of(&[1472; 100]), 0), 44, "no longer than a datagram");
        assert_eq!(count(&of(&[64; 100]), 0), MAX_SEGMENTS);
        let mut marked = of(&[1200, 1200, 1200]);
        marked[2].ecn = 3;
        assert_eq!(count(&marked, 0), 2, "the mark is one for all");
        marked[1].segment = 600;
        assert_eq!(count(&marked, 0), 1, "a train stays what it is");
    }
}
