//! Doubly linked lists threaded through the flows of a slab: a flow leaves its list in constant time and a list costs no memory
//! of its own. Used for the coarse timer wheel, for the flows of an address, and for the flows that are still connecting.

use slab::Slab;

/// No element.
pub(crate) const NIL: u32 = u32::MAX;

/// An element's place in one list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    prev: u32,
    next: u32,
}

impl Links {
    /// In no list.
    pub(crate) const NONE: Links = Links {
        prev: NIL,
        next: NIL,
    };

    /// The element after this one, or [`NIL`].
    pub(crate) fn next(self) -> u32 {
        self.next
    }

    /// The element before this one, or [`NIL`].
    pub(crate) fn prev(self) -> u32 {
        self.prev
    }
}

/// An element that can be in the list named by `Tag`.
pub(crate) trait Linked<Tag> {
    /// Its place in that list.
    fn links(&mut self) -> &mut Links;
}

/// Puts `key` in front and returns the new head.
pub(crate) fn push<T: Linked<Tag>, Tag>(slab: &mut Slab<T>, head: u32, key: u32) -> u32 {
    *slab[key as usize].links() = Links {
        prev: NIL,
        next: head,
    };
    if head != NIL {
        slab[head as usize].links().prev = key;
    }
    key
}

/// Takes `key` out and returns the new head.
pub(crate) fn remove<T: Linked<Tag>, Tag>(slab: &mut Slab<T>, head: u32, key: u32) -> u32 {
    let Links { prev, next } = std::mem::replace(slab[key as usize].links(), Links::NONE);
    if next != NIL {
        slab[next as usize].links().prev = prev;
    }
    if prev != NIL {
        slab[prev as usize].links().next = next;
        head
    } else {
        next
    }
}

/// Every key from `head` on, collected so that the caller may change the lists meanwhile.
pub(crate) fn keys<T: Linked<Tag>, Tag>(slab: &mut Slab<T>, head: u32) -> Vec<u32> {
    let mut keys = Vec::new();
    let mut key = head;
    while key != NIL {
        keys.push(key);
        key = slab[key as usize].links().next();
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Element(Links);
    struct Only;
    impl Linked<Only> for Element {
        fn links(&mut self) -> &mut Links {
            &mut self.0
        }
    }

    #[test]
    fn elements_leave_from_every_place() {
        let mut slab = Slab::new();
        let mut head = NIL;
        for _ in 0..4 {
            let key = slab.insert(Element(Links::NONE)) as u32;
            head = push::<_, Only>(&mut slab, head, key);
        }
        assert_eq!(keys::<_, Only>(&mut slab, head), [3, 2, 1, 0]);
        head = remove::<_, Only>(&mut slab, head, 2);
        head = remove::<_, Only>(&mut slab, head, 3);
        head = remove::<_, Only>(&mut slab, head, 0);
        assert_eq!(keys::<_, Only>(&mut slab, head), [1]);
        head = remove::<_, Only>(&mut slab, head, 1);
        assert_eq!(head, NIL);
    }
}
