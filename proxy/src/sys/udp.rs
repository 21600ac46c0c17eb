//! Datagrams in batches: `recvmmsg` and `sendmmsg` with the control messages that carry the local address, the size of segments and the
//! congestion mark; the socket options that no library wraps are below. Safe to call: every pointer that the kernel is given is made here, for one call.

mod names;
mod options;

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use names::{read_address, write_address};
pub(crate) use options::{
    coalesce, dropped, filter, path_mtu, receive_buffer, steer, tell_ecn, tell_local_address,
    tell_original, unfilter,
};

/// Room for the control messages of one datagram: a `sockaddr_in6` or an `in6_pktinfo`, and three ints, each with its header.
const CONTROL: usize = 128;

/// What stands before the data of a control message.
// SAFETY: it is a computation, and takes any length.
const CONTROL_HEADER: usize = unsafe { libc::CMSG_LEN(0) } as usize;

/// Segments that a datagram may be split into (`UDP_MAX_SEGMENTS` of kernels before 6.9).
pub(crate) const MAX_SEGMENTS: usize = 64;

/// The bits of an IPv4 header's type of service, and of an IPv6 header's traffic class, that are the congestion mark.
const ECN: u8 = 0b11;

/// What was received beside the payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    /// Who sent it; unspecified on a connected socket, where it is not asked for.
    pub(crate) from: SocketAddr,
    /// The local address that it was sent to, where the socket was told to say.
    pub(crate) local: Option<IpAddr>,
    /// The port as well, where that was asked for.
    pub(crate) port: Option<u16>,
    /// Bytes.
    pub(crate) len: usize,
    /// The size of the datagrams that the kernel coalesced into this one, the last of which may be shorter; 0 is one datagram.
    pub(crate) segment: usize,
    /// It did not fit the buffer.
    pub(crate) truncated: bool,
    /// Its congestion mark (ECN, RFC 3168), where the socket was told to say: 0 is none.
    pub(crate) ecn: u8,
}

impl Meta {
    const NONE: Meta = Meta {
        from: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
        local: None,
        port: None,
        len: 0,
        segment: 0,
        truncated: false,
        ecn: 0,
    };

    /// Datagrams in it.
    pub(crate) fn datagrams(&self) -> u64 {
        match self.segment {
            0 => 1,
            segment => self.len.div_ceil(segment).max(1) as u64,
        }
    }
}

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// What `recvmmsg` writes to. Made once, so that receiving allocates nothing.
#[derive(Default)]
pub(crate) struct Receiver {
    headers: Box<[Header]>,
    vectors: Box<[Vector]>,
    names: Box<[MaybeUninit<libc::sockaddr_storage>]>,
    controls: Box<[MaybeUninit<Control>]>,
    metas: Box<[Meta]>,
}

/// Pointers in these are set before each call and never read after it.
struct Header(libc::mmsghdr);
struct Vector(libc::iovec);

impl Header {
    fn empty() -> Self {
        // SAFETY: an mmsghdr of zeros is valid: null pointers with zero lengths.
        Self(unsafe { zeroed() })
    }
}

impl Vector {
    fn empty() -> Self {
        Self(libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        })
    }
}

impl Receiver {
    /// For up to `count` datagrams a call.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            headers: (0..count).map(|_| Header::empty()).collect(),
            vectors: (0..count).map(|_| Vector::empty()).collect(),
            names: (0..count).map(|_| MaybeUninit::uninit()).collect(),
            controls: (0..count).map(|_| MaybeUninit::uninit()).collect(),
            metas: vec![Meta::NONE; count].into(),
        }
    }

    /// Receives as many datagrams as there are, one into each of `buffers`, and says what they are. `addressed` sockets tell who sent
    /// them. Fewer than there are buffers means that no more waited, or that an error does.
    pub(crate) fn receive<'b>(
        &mut self,
        socket: BorrowedFd<'_>,
        addressed: bool,
        buffers: impl Iterator<Item = &'b mut [u8]>,
    ) -> io::Result<&[Meta]> {
        let mut count = 0;
        for (slot, buffer) in buffers.enumerate().take(self.headers.len()) {
            let vector = &mut self.vectors[slot].0;
            vector.iov_base = buffer.as_mut_ptr().cast();
            vector.iov_len = buffer.len();
            let header = &mut self.headers[slot].0.msg_hdr;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = self.controls[slot].as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
            header.msg_flags = 0;
            if addressed {
                header.msg_name = self.names[slot].as_mut_ptr().cast();
                header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            } else {
                header.msg_name = ptr::null_mut();
                header.msg_namelen = 0;
            }
            count = slot + 1;
        }
        // SAFETY: the first `count` headers point to buffers, vectors, names and controls that live and are borrowed mutably until the
        // call returns, with their true lengths. `Header` and `Vector` are wrappers of one field, and the pointer is to the first.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr().cast(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        let received = received as usize;
        for slot in 0..received {
            self.metas[slot] = self.meta(slot, addressed);
        }
        Ok(&self.metas[..received])
    }

    fn meta(&self, slot: usize, addressed: bool) -> Meta {
        let message = &self.headers[slot].0;
        let mut meta = Meta {
            len: message.msg_len as usize,
            truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            ..Meta::NONE
        };
        if addressed {
            // SAFETY: the kernel wrote a name of `msg_namelen` bytes there; what it did not write is not looked at.
            if let Some(from) = unsafe { read_address(self.names[slot].as_ptr()) } {
                meta.from = from;
            }
        }
        // SAFETY: the kernel has set `msg_controllen` to what it wrote to the control buffer, and CMSG_* stay inside that.
        unsafe {
            let mut control = libc::CMSG_FIRSTHDR(&raw const message.msg_hdr);
            while let Some(head) = control.as_ref() {
                let data = libc::CMSG_DATA(control);
                match (head.cmsg_level, head.cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let info = ptr::read_unaligned(data.cast::<libc::in_pktinfo>());
                        let ip = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                        meta.local = Some(ip.into());
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let info = ptr::read_unaligned(data.cast::<libc::in6_pktinfo>());
                        meta.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                    }
                    (libc::IPPROTO_IP, libc::IP_ORIGDSTADDR)
                    | (libc::IPPROTO_IPV6, libc::IPV6_ORIGDSTADDR) => {
                        let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
                        let len = head.cmsg_len.saturating_sub(CONTROL_HEADER);
                        let len = len.min(size_of::<libc::sockaddr_storage>());
                        ptr::copy_nonoverlapping(data, name.as_mut_ptr().cast(), len);
                        if let Some(local) = read_address(name.as_ptr()) {
                            meta.local = Some(local.ip());
                            meta.port = Some(local.port());
                        }
                    }
                    (libc::IPPROTO_IP, libc::IP_TOS) => meta.ecn = *data & ECN,
                    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                        let class = ptr::read_unaligned(data.cast::<libc::c_int>());
                        meta.ecn = class as u8 & ECN;
                    }
                    (libc::SOL_UDP, libc::UDP_GRO) => {
                        let size = ptr::read_unaligned(data.cast::<libc::c_int>());
                        meta.segment = usize::try_from(size).unwrap_or(0);
                    }
                    _ => {}
                }
                control = libc::CMSG_NXTHDR(&raw const message.msg_hdr, control);
            }
        }
        // One datagram needs no splitting.
        if meta.segment >= meta.len {
            meta.segment = 0;
        }
        meta
    }
}

/// One datagram, or several of one size, to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    /// Where to; `None` on a connected socket.
    pub(crate) to: Option<SocketAddr>,
    /// The local address that it leaves from, where the socket is bound to none.
    pub(crate) from: Option<IpAddr>,
    /// Stands in front of every datagram.
    pub(crate) header: &'a [u8],
    /// The payload, in as many parts as there are. Each part begins a datagram.
    pub(crate) parts: &'a [&'a [u8]],
    /// Split the payload into datagrams of this size, of which the last may be shorter; 0 is one datagram. At most [`MAX_SEGMENTS`].
    pub(crate) segment: usize,
    /// The congestion mark.
    pub(crate) ecn: u8,
}

/// What `sendmmsg` reads from. Made once, so that sending allocates nothing.
#[derive(Default)]
pub(crate) struct Sender {
    headers: Box<[Header]>,
    vectors: Vec<Vector>,
    names: Box<[MaybeUninit<libc::sockaddr_storage>]>,
    controls: Box<[MaybeUninit<Control>]>,
}

impl Sender {
    /// For up to `count` datagrams a call.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            headers: (0..count).map(|_| Header::empty()).collect(),
            vectors: Vec::new(),
            names: (0..count).map(|_| MaybeUninit::uninit()).collect(),
            controls: (0..count).map(|_| MaybeUninit::uninit()).collect(),
        }
    }

    /// Sends them in order and says how many were sent; an error is the first one's. `ipv6` is the socket's family.
    pub(crate) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        ipv6: bool,
        messages: impl Iterator<Item = Outgoing<'a>> + Clone,
    ) -> io::Result<usize> {
        let limit = self.headers.len();
        self.vectors.clear();
        for message in messages.clone().take(limit) {
            self.push_vectors(&message);
        }
        let mut count = 0;
        let mut vector = 0;
        for (slot, message) in messages.enumerate().take(limit) {
            let parts = vectors(&message);
            let controllen = write_control(&mut self.controls[slot], &message, ipv6);
            let header = &mut self.headers[slot].0.msg_hdr;
            header.msg_iov = (&raw mut self.vectors[vector]).cast();
            header.msg_iovlen = parts as _;
            header.msg_controllen = controllen as _;
            header.msg_control = match controllen {
                0 => ptr::null_mut(),
                _ => self.controls[slot].as_mut_ptr().cast(),
            };
            match message.to {
                None => {
                    header.msg_name = ptr::null_mut();
                    header.msg_namelen = 0;
                }
                Some(to) => {
                    header.msg_namelen = write_address(&mut self.names[slot], to);
                    header.msg_name = self.names[slot].as_mut_ptr().cast();
                }
            }
            vector += parts;
            count = slot + 1;
        }
        // SAFETY: the first `count` headers point to vectors, names and controls of this sender, all written above with their true
        // lengths and not moved since, and the vectors to bytes that are borrowed for `'a`. The kernel only reads.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr().cast(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(sent as usize)
        }
    }

    fn push_vectors(&mut self, message: &Outgoing<'_>) {
        let mut push = |bytes: &[u8]| {
            self.vectors.push(Vector(libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            }));
        };
        for part in message.parts {
            if message.header.is_empty() {
                push(part);
            } else if message.segment == 0 {
                push(message.header);
                push(part);
            } else {
                for datagram in part.chunks(message.segment) {
                    push(message.header);
                    push(datagram);
                }
            }
        }
    }
}

impl Outgoing<'_> {
    fn segment_on_wire(&self) -> usize {
        match self.segment {
            0 => 0,
            segment => segment + self.header.len(),
        }
    }
}

/// How many vectors a message takes.
fn vectors(message: &Outgoing<'_>) -> usize {
    let each = |part: &&[u8]| match (message.header.is_empty(), message.segment) {
        (true, _) => 1,
        (false, 0) => 2,
        (false, segment) => 2 * part.len().div_ceil(segment),
    };
    message.parts.iter().map(each).sum()
}

/// Sends one datagram on a connected socket.
pub(crate) fn send(socket: BorrowedFd<'_>, payload: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads `len` bytes of `payload`, which is that long.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            payload.as_ptr().cast(),
            payload.len(),
            libc::MSG_DONTWAIT,
        )
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Writes the control messages and says how long they are.
fn write_control(control: &mut MaybeUninit<Control>, message: &Outgoing<'_>, ipv6: bool) -> usize {
    let (from, segment) = (message.from, message.segment_on_wire());
    if from.is_none() && segment == 0 && message.ecn == 0 {
        return 0;
    }
    *control = MaybeUninit::new(Control([0; CONTROL]));
    let base: *mut u8 = control.as_mut_ptr().cast();
    let mut used = 0;
    let mut put = |level: libc::c_int, kind: libc::c_int, data: *const u8, len: usize| {
        // SAFETY: `used` grows by CMSG_SPACE of 20, 2 and 4 bytes at most, 88 in all, which CONTROL holds; `base` is aligned for a
        // cmsghdr as Control is, and CMSG_SPACE keeps it so; `data` points to `len` bytes.
        unsafe {
            let head = base.add(used).cast::<libc::cmsghdr>();
            (*head).cmsg_level = level;
            (*head).cmsg_type = kind;
            (*head).cmsg_len = libc::CMSG_LEN(len as libc::c_uint) as _;
            ptr::copy_nonoverlapping(data, libc::CMSG_DATA(head), len);
            used += libc::CMSG_SPACE(len as libc::c_uint) as usize;
        }
    };
    match from {
        None => {}
        Some(IpAddr::V4(ip)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from_ne_bytes(ip.octets()),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let len = size_of::<libc::in_pktinfo>();
            put(
                libc::IPPROTO_IP,
                libc::IP_PKTINFO,
                (&raw const info).cast(),
                len,
            );
        }
        Some(IpAddr::V6(ip)) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: ip.octets(),
                },
                ipi6_ifindex: 0,
            };
            let len = size_of::<libc::in6_pktinfo>();
            put(
                libc::IPPROTO_IPV6,
                libc::IPV6_PKTINFO,
                (&raw const info).cast(),
                len,
            );
        }
    }
    if segment > 0 {
        let size = segment as u16;
        put(
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const size).cast(),
            size_of::<u16>(),
        );
    }
    if message.ecn != 0 {
        let (level, kind) = if ipv6 {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        } else {
            (libc::IPPROTO_IP, libc::IP_TOS)
        };
        let mark = libc::c_int::from(message.ecn & ECN);
        let len = size_of::<libc::c_int>();
        put(level, kind, (&raw const mark).cast(), len);
    }
    used
}
