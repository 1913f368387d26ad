//! The generation of the firewall: a number that the kernel changes with every transaction on any rule of the network
//! namespace. As long as it is the same nobody changed anything, and the rules need not be listed, which takes a process.
//!
//! Source: `NFT_MSG_GETGEN` and `NFTA_GEN_ID` of `linux/netfilter/nf_tables.h`, the header of `linux/netfilter/nfnetlink.h`.

use std::io;

use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};

/// `NFNL_SUBSYS_NFTABLES`, the upper byte of a message's type.
const SUBSYSTEM: u16 = 10 << 8;
const NEW_GENERATION: u16 = SUBSYSTEM | 15;
const GET_GENERATION: u16 = SUBSYSTEM | 16;
const REQUEST: u16 = 1;
/// `nlmsghdr` and `nfgenmsg` (netlink(7)).
const HEADERS: u16 = 16 + 4;
/// The attribute with the number: 4 bytes, the highest first.
const ID: u16 = 1;

/// The generation now, in the network namespace of the calling thread. The kernel answers within the call that asks.
pub fn generation() -> io::Result<u32> {
    let socket = Socket::new(NETLINK_NETFILTER)?;
    socket.set_non_blocking(true)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request(), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no generation in it"))
}

fn request() -> Vec<u8> {
    let mut message = u32::from(HEADERS).to_ne_bytes().to_vec();
    message.extend(GET_GENERATION.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    // Number and sender, then family, version and resource of the subsystem: all zero.
    message.resize(HEADERS.into(), 0);
    message
}

fn parse(answer: &[u8]) -> Option<u32> {
    let number = |at: usize| Some(u16::from_ne_bytes(*answer.get(at..)?.first_chunk()?));
    let mut at = usize::from(HEADERS);
    if number(4)? != NEW_GENERATION {
        return None;
    }
    loop {
        let (length, kind) = (usize::from(number(at)?), number(at + 2)?);
        if kind == ID {
            let value = answer.get(at..at + length)?.get(4..)?;
            return Some(u32::from_be_bytes(value.try_into().ok()?));
        }
        // Attributes begin at multiples of four; one of no length would never end.
        at += length.max(4).next_multiple_of(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_with_the_rules_and_only_then() {
        let nft = |words: &[&str]| {
            let done = std::process::Command::new("nft").args(words).status();
            assert!(done.unwrap().success());
        };
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let empty = generation().unwrap();
            nft(&["add", "table", "inet", "of-others"]);
            let changed = generation().unwrap();
            assert_ne!(empty, changed);
            nft(&["list", "ruleset"]);
            assert_eq!(generation().unwrap(), changed);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn finds_the_number_among_the_attributes() {
        let mut answer = request();
        answer[4..6].copy_from_slice(&NEW_GENERATION.to_ne_bytes());
        for (kind, value) in [(2_u16, &b"\0\0\x04"[..]), (ID, b"\0\0\x01\x02")] {
            let length = u16::try_from(4 + value.len()).unwrap();
            answer.extend(length.to_ne_bytes());
            answer.extend(kind.to_ne_bytes());
            answer.extend(value);
            answer.resize(answer.len().next_multiple_of(4), 0);
        }
        assert_eq!(parse(&answer), Some(0x102));
        for end in 0..answer.len() {
            assert_eq!(parse(&answer[..end]), None, "{end}");
        }
        assert_eq!(parse(&request()), None);
        answer[20..22].copy_from_slice(&0_u16.to_ne_bytes());
        // Whatever is in it, it ends.
        parse(&answer);
    }
}
