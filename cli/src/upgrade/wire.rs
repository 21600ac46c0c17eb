//! Messages with descriptors over a Unix stream socket: a head of four numbers (magic, descriptors, length of the JSON, length of the
//! blob), the JSON, the blob. The descriptors travel with the head (SCM_RIGHTS, unix(7)). Blocking, every call with a deadline.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::message::Message;

/// Tells our messages from anything else that may come in.
const MAGIC: u32 = u32::from_be_bytes(*b"PTUP");

/// Descriptors of a message; the kernel takes up to 253 (SCM_MAX_FD).
pub(super) const MOST_DESCRIPTORS: usize = 200;

/// Ten thousand endpoints take about four.
const LONGEST_TEXT: usize = 64 << 20;

/// A hundred flows that each keep a full buffer both ways take about fifty.
const LONGEST_BLOB: usize = 128 << 20;

const HEAD: usize = 16;

/// While the kernel counts too many descriptors in flight for this user, trying again at once would only spin.
const TOO_MANY_IN_FLIGHT: Duration = Duration::from_millis(5);

/// A message as it arrives.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) message: Message,
    pub(super) descriptors: Vec<OwnedFd>,
    pub(super) blob: Vec<u8>,
}

/// One end of the connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
}

impl Wire {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        Ok(Self { stream })
    }

    /// Sends a message alone.
    pub(super) fn say(&self, message: &Message, within: Duration) -> io::Result<()> {
        self.send(message, &[], &[], within)
    }

    /// Sends a message with what belongs to it. `TimedOut` when the other side does not take it.
    pub(super) fn send(
        &self,
        message: &Message,
        descriptors: &[BorrowedFd<'_>],
        blob: &[u8],
        within: Duration,
    ) -> io::Result<()> {
        let until = Instant::now() + within;
        let text = serde_json::to_vec(message)?;
        let mut head = Vec::with_capacity(HEAD + text.len() + blob.len());
        for number in [MAGIC as usize, descriptors.len(), text.len(), blob.len()] {
            let number = u32::try_from(number).map_err(|_| invalid("the message is too long"))?;
            head.extend_from_slice(&number.to_be_bytes());
        }
        let sent = self.send_head(&head, descriptors, until)?;
        self.write(&head[sent..], until)?;
        self.write(&text, until)?;
        self.write(blob, until)
    }

    fn send_head(
        &self,
        head: &[u8],
        descriptors: &[BorrowedFd<'_>],
        until: Instant,
    ) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        loop {
            self.stream.set_write_timeout(Some(left(until)?))?;
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty()
                && !control.push(SendAncillaryMessage::ScmRights(descriptors))
            {
                return Err(invalid("too many descriptors for a message"));
            }
            let head = [IoSlice::new(head)];
            match sendmsg(&self.stream, &head, &mut control, SendFlags::NOSIGNAL) {
                Ok(sent) => return Ok(sent),
                Err(Errno::INTR) => {}
                Err(Errno::TOOMANYREFS) => thread::sleep(TOO_MANY_IN_FLIGHT),
                Err(error) => return Err(timed(error.into())),
            }
        }
    }

    fn write(&self, mut bytes: &[u8], until: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(left(until)?))?;
            match (&self.stream).write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(timed(error)),
            }
        }
        Ok(())
    }

    /// Waits for the next message. `UnexpectedEof` when the other side is gone, `InvalidData` for what is no message of ours.
    pub(super) fn receive(&self, within: Duration) -> io::Result<Frame> {
        let until = Instant::now() + within;
        let mut head = [0; HEAD];
        let descriptors = self.receive_head(&mut head, until)?;
        let [magic, count, text, blob] = numbers(head);
        if magic != MAGIC as usize {
            return Err(invalid("this is no upgrade message"));
        }
        if text > LONGEST_TEXT || blob > LONGEST_BLOB {
            return Err(invalid("the message is too long"));
        }
        if descriptors.len() != count {
            return Err(invalid(
                "descriptors were lost on the way: the descriptor limit is too low",
            ));
        }
        let text = self.read(text, until)?;
        let blob = self.read(blob, until)?;
        Ok(Frame {
            message: serde_json::from_slice(&text)?,
            descriptors,
            blob,
        })
    }

    /// Waits for a message that must be this one.
    pub(super) fn expect(&self, message: &Message, within: Duration) -> io::Result<()> {
        let heard = self.receive(within)?.message;
        if heard == *message {
            Ok(())
        } else {
            Err(heard.unexpected())
        }
    }

    fn receive_head(&self, head: &mut [u8; HEAD], until: Instant) -> io::Result<Vec<OwnedFd>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut descriptors = Vec::new();
        let mut filled = 0;
        while filled < HEAD {
            self.stream.set_read_timeout(Some(left(until)?))?;
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut rest = [IoSliceMut::new(&mut head[filled..])];
            let got = match recvmsg(
                &self.stream,
                &mut rest,
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Ok(got) => got,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(timed(error.into())),
            };
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    descriptors.extend(rights);
                }
            }
            if got.flags.contains(ReturnFlags::CTRUNC) {
                // The kernel has closed what did not fit; the count will tell.
                tracing::debug!("descriptors were cut off");
            }
            if got.bytes == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            filled += got.bytes;
        }
        Ok(descriptors)
    }

    fn read(&self, length: usize, until: Instant) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            self.stream.set_read_timeout(Some(left(until)?))?;
            match (&self.stream).read(&mut bytes[filled..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(timed(error)),
            }
        }
        Ok(bytes)
    }
}

fn numbers(head: [u8; HEAD]) -> [usize; 4] {
    let (words, _) = head.as_chunks::<4>();
    std::array::from_fn(|index| u32::from_be_bytes(words[index]) as usize)
}

/// The time that is left; a timeout of zero would be none at all.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// SO_RCVTIMEO and SO_SNDTIMEO end a call with EAGAIN (socket(7)).
fn timed(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock {
        ErrorKind::TimedOut.into()
    } else {
        error
    }
}

pub(super) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
