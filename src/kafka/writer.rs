//! Putting a message together for the socket: a [`Writer`] that never copies record bytes, and the
//! [`Segments`] that come out of it.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::wire::{Fault, Prefix, Records, Str, WireError};
use crate::limits::SEND_COPY_BYTES;

/// Puts a message together: small pieces in a buffer, large ones by reference.
#[derive(Debug, Default)]
pub struct Writer {
    /// The first piece, still open for the frame's size.
    head: Option<BytesMut>,
    pieces: VecDeque<Bytes>,
    closed_bytes: usize,
    buffer: BytesMut,
}

impl Writer {
    /// Bytes written.
    pub(super) fn len(&self) -> usize {
        self.closed_bytes + self.buffer.len()
    }

    pub(super) fn error(&self, fault: Fault) -> WireError {
        WireError::new(self.len(), fault)
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.buffer.put_u8(u8::from(value));
    }

    pub(super) fn i8(&mut self, value: i8) {
        self.buffer.put_i8(value);
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.buffer.put_i16(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.buffer.put_u16(value);
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.buffer.put_i64(value);
    }

    pub(super) fn uuid(&mut self, value: Uuid) {
        self.buffer.put_slice(value.as_bytes());
    }

    pub(super) fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    /// A length or count; none for null.
    pub(super) fn length(
        &mut self,
        flexible: bool,
        prefix: Prefix,
        length: Option<usize>,
    ) -> Result<(), WireError> {
        let too_long = |w: &Self| w.error(Fault::TooLong { length: length.unwrap_or_default() });
        let signed = length.map_or(Ok(-1), i32::try_from).map_err(|_| too_long(self))?;
        match (flexible, prefix) {
            (true, _) => self.uvarint(signed.wrapping_add(1).cast_unsigned()),
            (false, Prefix::Short) => {
                let short = i16::try_from(signed).map_err(|_| too_long(self))?;
                self.i16(short);
            }
            (false, Prefix::Int) => self.i32(signed),
        }
        Ok(())
    }

    pub(super) fn string(&mut self, flexible: bool, text: Option<&Str>) -> Result<(), WireError> {
        self.length(flexible, Prefix::Short, text.map(|text| text.len()))?;
        self.buffer.put_slice(text.map_or(&[], |text| text.as_bytes()));
        Ok(())
    }

    pub(super) fn bytes(&mut self, flexible: bool, bytes: Option<&Bytes>) -> Result<(), WireError> {
        self.length(flexible, Prefix::Int, bytes.map(Bytes::len))?;
        if let Some(bytes) = bytes {
            self.append(bytes);
        }
        Ok(())
    }

    pub(super) fn records(
        &mut self,
        flexible: bool,
        records: Option<&Records>,
    ) -> Result<(), WireError> {
        self.length(flexible, Prefix::Int, records.map(Records::len))?;
        for piece in records.iter().flat_map(|records| records.pieces()) {
            self.append(piece);
        }
        Ok(())
    }

    /// Appends without a copy, unless a copy is cheaper than a further piece.
    fn append(&mut self, bytes: &Bytes) {
        if bytes.len() <= SEND_COPY_BYTES {
            self.buffer.put_slice(bytes);
            return;
        }
        self.close_buffer();
        self.closed_bytes += bytes.len();
        self.pieces.push_back(bytes.clone());
    }

    fn close_buffer(&mut self) {
        self.closed_bytes += self.buffer.len();
        let piece = self.buffer.split();
        match self.head {
            None => self.head = Some(piece),
            Some(_) if piece.is_empty() => {}
            Some(_) => self.pieces.push_back(piece.freeze()),
        }
    }

    /// The tagged fields at the end of a structure, in ascending order of their tags.
    pub(super) fn tagged_fields(&mut self, fields: Vec<(u32, Writer)>) -> Result<(), WireError> {
        let size = |w: &Self, size: usize| {
            u32::try_from(size).map_err(|_| w.error(Fault::TooLong { length: size }))
        };
        self.uvarint(size(self, fields.len())?);
        for (tag, content) in fields {
            self.uvarint(tag);
            self.uvarint(size(self, content.len())?);
            for piece in content.finish().0 {
                self.append(&piece);
            }
        }
        Ok(())
    }

    /// What was written.
    pub(super) fn finish(mut self) -> Segments {
        self.close_buffer();
        let head = self.head.take().unwrap_or_default();
        if !head.is_empty() {
            self.pieces.push_front(head.freeze());
        }
        Segments(self.pieces)
    }

    /// What was written, as a frame: its first four bytes are overwritten with the size of the
    /// rest.
    pub(super) fn finish_frame(mut self) -> Result<Segments, WireError> {
        let rest = self.len().saturating_sub(size_of::<i32>());
        let size = i32::try_from(rest).map_err(|_| self.error(Fault::TooLong { length: rest }))?;
        let first = self.head.as_mut().unwrap_or(&mut self.buffer);
        if let Some(prefix) = first.first_chunk_mut() {
            *prefix = size.to_be_bytes();
        }
        Ok(self.finish())
    }
}

/// Bytes to send, in pieces; sent with one vectored write where the socket allows.
#[derive(Debug, Clone, Default)]
pub struct Segments(VecDeque<Bytes>);

impl Segments {
    /// Appends what is to be sent behind it.
    pub(super) fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }
}

impl Buf for Segments {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let filled = out.iter_mut().zip(&self.0);
        filled.map(|(slot, piece)| *slot = IoSlice::new(piece)).count()
    }

    /// # Panics
    /// If fewer than `count` bytes are left, as [`Buf`] prescribes.
    fn advance(&mut self, mut count: usize) {
        while let Some(front) = self.0.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.0.pop_front();
        }
        assert_eq!(count, 0, "advanced past the end");
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Reader;
    use super::*;

    fn whole(mut segments: Segments) -> Bytes {
        segments.copy_to_bytes(segments.remaining())
    }

    #[test]
    fn varints_read_back() {
        for value in [0, 1, 0x7f, 0x80, 300, 0x3fff, 0x4000, u32::MAX] {
            let mut writer = Writer::default();
            writer.uvarint(value);
            assert_eq!(Reader::new(whole(writer.finish())).uvarint(), Ok(value));
        }
    }

    #[test]
    fn lengths_end_where_their_prefix_does() {
        let mut writer = Writer::default();
        let text = Str::from("x".repeat(i16::MAX as usize + 1));
        let refused = writer.string(false, Some(&text)).unwrap_err();
        assert_eq!(refused.fault, Fault::TooLong { length: 32_768 });
        assert_eq!(writer.string(true, Some(&text)), Ok(()));
        let refused = writer.length(true, Prefix::Int, Some(1 << 31)).unwrap_err();
        assert_eq!(refused.fault, Fault::TooLong { length: 1 << 31 });
    }

    #[test]
    fn records_are_sent_without_a_copy() {
        let large = Bytes::from(vec![7; SEND_COPY_BYTES + 1]);
        let mut writer = Writer::default();
        writer.i32(0);
        let records = Records::from(vec![large.clone(), Bytes::from_static(b"small")]);
        writer.records(false, Some(&records)).unwrap();
        let frame = writer.finish_frame().unwrap();
        assert_eq!(frame.0[1].as_ptr(), large.as_ptr());
        let bytes = whole(frame);
        assert_eq!(bytes[..4], (large.len() as i32 + 9).to_be_bytes());
        assert_eq!(bytes[4..8], (large.len() as i32 + 5).to_be_bytes());
        assert_eq!(&bytes[8 + large.len()..], b"small");
    }

    #[test]
    fn segments_advance_over_pieces() {
        let pieces = ["ab", "cde", "f"].map(|piece| Bytes::from_static(piece.as_bytes()));
        let mut segments = Segments(pieces.into());
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(segments.chunks_vectored(&mut slices), 2);
        assert_eq!(&*slices[1], b"cde");
        segments.advance(3);
        assert_eq!((segments.remaining(), segments.chunk()), (3, &b"de"[..]));
        segments.advance(3);
        assert!(!segments.has_remaining());
    }
}
