use bytes::{BufMut, Bytes, BytesMut};
use streamhouse_metadata::ProducerBatch;

/// A record batch to make up, as a client would send it: uncompressed, offsets from 0.
#[derive(Clone, Debug)]
pub struct BatchSpec {
    /// How many records.
    pub records: i32,
    /// The value of each record.
    pub value: Bytes,
    /// The timestamp of the first record; each further one is a millisecond later.
    pub timestamp_ms: i64,
    /// The idempotent producer's claim.
    pub producer: Option<ProducerBatch>,
}

impl BatchSpec {
    /// `records` records with small values and no producer.
    pub fn new(records: i32) -> Self {
        let value = Bytes::from_static(b"made up");
        Self { records, value, timestamp_ms: 1_700_000_000_000, producer: None }
    }

    /// With records of `bytes` bytes.
    pub fn value_bytes(self, bytes: usize) -> Self {
        Self { value: vec![b'x'; bytes].into(), ..self }
    }

    /// From an idempotent producer.
    pub fn producer(self, id: i64, epoch: i16, sequence: i32) -> Self {
        Self { producer: Some(ProducerBatch { id, epoch, sequence }), ..self }
    }

    /// The batch's bytes.
    pub fn encode(&self) -> Bytes {
        let mut records = BytesMut::new();
        for place in 0..self.records {
            self.encode_record(place, &mut records);
        }
        let claim = self.producer.unwrap_or(ProducerBatch { id: -1, epoch: -1, sequence: -1 });
        let mut checked = BytesMut::new();
        checked.put_i16(0);
        checked.put_i32(self.records - 1);
        checked.put_i64(self.timestamp_ms);
        checked.put_i64(self.timestamp_ms + i64::from(self.records - 1));
        checked.put_i64(claim.id);
        checked.put_i16(claim.epoch);
        checked.put_i32(claim.sequence);
        checked.put_i32(self.records);
        checked.put(records);

        let mut batch = BytesMut::new();
        batch.put_i64(0);
        batch.put_i32(checked.len() as i32 + 9);
        batch.put_i32(-1);
        batch.put_i8(2);
        batch.put_u32(crc_fast::crc32_iscsi(&checked));
        batch.put(checked);
        batch.freeze()
    }

    fn encode_record(&self, place: i32, out: &mut BytesMut) {
        let mut record = BytesMut::new();
        record.put_i8(0);
        put_varint(&mut record, i64::from(place));
        put_varint(&mut record, i64::from(place));
        put_varint(&mut record, -1);
        put_varint(&mut record, self.value.len() as i64);
        record.put_slice(&self.value);
        put_varint(&mut record, 0);
        put_varint(out, record.len() as i64);
        out.put(record);
    }
}

fn put_varint(out: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}
