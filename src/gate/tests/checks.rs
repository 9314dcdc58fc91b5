//! What holds after every event.

use super::*;

/// Frames that one event may cause: a burst toward either end, with an acknowledgement and a probe each.
const MOST_FRAMES: usize = 2 * (64 + 3);

impl Bench {
    /// Checks everything that left in this event.
    pub(in super::super) fn check(&mut self) {
        assert!(self.toy.wire.frames.len() <= MOST_FRAMES.max(RELEASES + 2), "I10: too many frames for one event");
        // A store full of the shortest units.
        assert!((self.toy.calls as usize) < STORE / 3 + 100, "I10: too much work for one event");
        for (stream, store) in [self.gate.commands(), self.gate.answers()].into_iter().zip(&self.stores) {
            assert!(stream.buffered() as usize <= store.len(), "I10: more is kept than the store takes");
        }
        let wire = std::mem::take(&mut self.toy.wire);
        for frame in &wire.frames {
            self.check_frame(frame, wire.payload(frame));
        }
        self.toy.wire = wire;
        for copies in &mut self.seen[0].copies {
            copies.check_robot();
        }
        self.read_as_clients();
        if self.ended.is_none() && !self.toy.allowed.is_empty() {
            let left = self.seen[0].copies[0].end();
            assert!(left > self.toy.last_allowed, "I14: a unit was allowed of which no byte left in the same event");
        }
        if self.gate.is_spliced() && self.ended.is_none() {
            self.check_told();
        }
    }

    fn check_frame(&mut self, frame: &Frame, payload: &[u8]) {
        for value in [frame.seq, frame.ack, frame.window, u32::from(frame.fin), frame.len as u32] {
            self.digest = (self.digest ^ u64::from(value)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(7);
        }
        let to = index(frame.toward);
        let place = self.seen[to].place(frame.seq);
        // A robot's probe passes in Fast with its meaningless byte: the client has the right one.
        let probe = !frame.own && to == 1 && frame.len == 1 && !self.toy.sent[1].may_be(place as usize, payload);
        let payload = if probe { &[] } else { payload };
        if !payload.is_empty() || frame.fin {
            assert!(place >= 0, "data before the first byte left the box");
            let (at, end) = (place as usize, place as usize + payload.len());
            let seen = &self.seen[to];
            assert!(!seen.copies[0].differs(at, payload), "I5: two copies of a byte differ");
            if let Some(fin) = seen.fin {
                assert!(end <= fin, "I5: a byte left behind a FIN that left");
            }
            if frame.fin {
                assert!(seen.fin.is_none_or(|fin| fin == end), "I5: a FIN with two numbers");
                assert!(seen.copies[0].end() <= end, "a FIN before the last byte");
                self.seen[to].fin = Some(end);
            }
            if to == 0 {
                assert!(payload.is_empty() || at >= self.sealed, "a byte from before other rules went out again");
                let allowed = self.toy.allowed.get(at..end);
                assert_eq!(allowed, Some(payload), "I2, I3: a byte left that is not the allowed one for its place");
            }
            let seen = &mut self.seen[to];
            seen.copies.iter_mut().for_each(|copies| copies.take(at, payload));
            self.own_bytes[to] += if frame.own { payload.len() } else { 0 };
            let last = seen.start.wrapping_add(end as u32);
            let within = payload.is_empty() || !seq::before(seen.offered, last);
            assert!(!frame.own || self.was_fast || within, "a byte beyond every window that was offered");
        }
        self.check_acknowledgement(frame);
    }

    /// I7: what the sender of the other direction is told was received.
    fn check_acknowledgement(&mut self, frame: &Frame) {
        if !frame.own && frame.toward == Toward::Robot {
            return;
        }
        let about = index(frame.toward.reverse());
        let seen = &self.seen[about];
        let place = seen.place(frame.ack);
        let in_order = self.toy.sent[about].in_order();
        let fin = seen.sent_fins.contains(&in_order) && seen.fin_acked;
        let most = in_order + usize::from(fin || (!frame.own && seen.sent_fins.contains(&in_order)));
        assert!(place <= most as isize, "I7: {place} acknowledged of {most} that came");
        if !frame.own {
            return;
        }
        let edge = frame.ack.wrapping_add(frame.window);
        if let Some((ack, last_edge)) = seen.told {
            assert!(!seq::before(frame.ack, ack), "an acknowledgement was taken back");
            assert!(!seq::before(edge, last_edge), "the right edge of the window moved back");
        }
        self.seen[about].told = Some((frame.ack, edge));
    }

    /// What came is acknowledged at once, and a window that opened is told.
    fn check_told(&self) {
        let streams = [self.gate.commands(), self.gate.answers()];
        let capacities = [self.stores[0].len(), self.stores[1].len() - ANSWER];
        for (at, stream) in streams.into_iter().enumerate() {
            if at == 0 && self.client_gone {
                continue;
            }
            let seen = &self.seen[at];
            let received = stream.incoming(stream.accepted());
            let fin = seen.fin_acked && seen.sent_fins.contains(&(seen.place(received) as usize));
            let received = received.wrapping_add(u32::from(fin));
            let (ack, edge) = seen.told.expect("spliced and nothing told");
            assert_eq!(ack, received, "what came is not acknowledged at once");
            let most = capacities[at].min(65_535);
            let free = capacities[at].saturating_sub(stream.buffered() as usize).min(65_535);
            let told = edge.wrapping_sub(ack) as usize;
            assert!(told >= most / 4 || free < most / 2, "a window that opened is not told: {told} of {free}");
        }
    }

    /// I8: clients read the robot's bytes in order, each answer once, in its place.
    fn read_as_clients(&mut self) {
        let Self { clients, seen, toy, .. } = self;
        let silent = !seen[1].sent_fins.is_empty();
        for (client, copies) in clients.iter_mut().zip(&mut seen[1].copies) {
            if copies.read == 0 {
                *client = Client::default();
            }
            while !client.raw {
                let rest = &copies.bytes[copies.read..copies.in_order];
                let Some(len) = rest.first().map(|_| unit_len(rest)) else { break };
                let Some(len) = len else {
                    client.raw = true;
                    break;
                };
                if rest.len() < len {
                    break;
                }
                let unit = &rest[..len];
                let number = unit[2];
                if unit[1] == ANSWERED {
                    assert_eq!(unit, answer_to(number), "I8: a broken answer reached the client");
                    while silent && matches!(toy.script.get(client.script), Some(Expected::Reply(_))) {
                        // A robot that has closed replies no more.
                        client.script += 1;
                    }
                    let expected = toy.script.get(client.script);
                    assert_eq!(expected, Some(&Expected::Answer(number)), "I8: an answer out of its place");
                    client.script += 1;
                } else {
                    assert!(toy.sent[1].may_be(client.robot, unit), "I8: the client reads what the robot did not send");
                    if unit[1] == REPLY {
                        let expected = toy.script.get(client.script);
                        assert_eq!(expected, Some(&Expected::Reply(number)), "I8: a reply out of its place");
                        client.script += 1;
                    }
                    client.robot += len;
                }
                copies.read += len;
            }
            if client.raw {
                let rest = &copies.bytes[copies.read..copies.in_order];
                assert!(toy.sent[1].may_be(client.robot, rest), "I8: the client reads what the robot did not send");
                client.robot += rest.len();
                copies.read += rest.len();
            }
        }
    }

    /// Whether the client has read all that is meant for it.
    pub(in super::super) fn is_script_read(&self) -> bool {
        let left = &self.toy.script[self.clients[0].script..];
        let silent = !self.seen[1].sent_fins.is_empty();
        // Behind what can't be read nothing is told apart.
        self.clients[0].raw || left.iter().all(|expected| silent && matches!(expected, Expected::Reply(_)))
    }
}
