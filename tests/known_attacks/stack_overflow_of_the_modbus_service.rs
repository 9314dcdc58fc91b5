//! RVD#6 (also #7, #8), IOActive, "Hacking Robots Before Skynet", 2017: a crafted request overflows a buffer on the stack
//! of the Modbus service of software 3.1 to 3.3.4-310. The request was not published: every way in which one contradicts
//! itself.

use crate::{PLC, both};

#[test]
fn stack_overflow_of_the_modbus_service() {
    let read = [0, 1, 0, 0, 0, 6, 255, 3, 0, 128, 0, 1];
    for guard in both() {
        guard.passes(PLC, 502, &read);
        for len in [0, 1, 7, 254, 255, 256, 1000, 65_535_u16] {
            // The length field says one thing, what follows says another.
            let mut request = [0, 1, 0, 0, 0, 0, 255, 16, 0, 128, 0, 2, 4, 0, 1, 0, 2].to_vec();
            request[4..6].copy_from_slice(&len.to_be_bytes());
            request.extend([0x41; 1400]);
            assert_eq!(guard.takes(PLC, 502, &request).arrived, 0, "length field {len}");
        }
        for (quantity, bytes) in [(0_u16, 0_u8), (2, 255), (123, 4), (124, 248), (0x7fff, 4), (0xffff, 0)] {
            let [high, low] = quantity.to_be_bytes();
            let data = vec![0x41; 246.min(usize::from(bytes))];
            let len = u8::try_from(7 + data.len()).unwrap();
            let head = [0, 1, 0, 0, 0, len, 255, 16, 0, 128, high, low, bytes];
            let request = [&head[..], &data].concat();
            assert_eq!(guard.takes(PLC, 502, &request).arrived, 0, "{quantity} registers, {bytes} bytes");
        }
    }
}
