use super::*;

#[test]
fn the_octets_are_the_kernels_struct() {
    let header = Header {
        flags: vnet::NEEDS_CSUM,
        gso_type: vnet::GSO_TCPV4,
        hdr_len: 66,
        gso_size: 1448,
        csum_start: 34,
        csum_offset: 16,
    };
    let octets = header.to_octets();
    assert_eq!(octets[..2], [1, 1]);
    assert_eq!(Header::before(&octets, 10), Some(header));
    assert_eq!(Header::before(&octets, 9), None);
    assert_eq!(Header::before(&octets, 11), None);
}

#[test]
fn a_received_super_segment_tells_its_headers_length() {
    let mut octets = vec![0u8; 3000];
    octets[12..14].copy_from_slice(&[0x08, 0x00]);
    octets[34 + 12] = 0x80; // a TCP header of 32 octets
    let header = Header {
        flags: vnet::NEEDS_CSUM,
        gso_type: vnet::GSO_TCPV4 | vnet::GSO_ECN,
        hdr_len: 190,
        gso_size: 1448,
        csum_start: 34,
        csum_offset: 16,
    };
    let expected = Segmentation {
        size: 1448,
        header_len: 52,
    };
    assert_eq!(header.segmentation(&octets), Some(expected));
}

#[test]
fn udp_super_frames_are_no_super_segments() {
    let header = Header {
        gso_type: 5,
        gso_size: 1200,
        ..Header::default()
    };
    assert_eq!(header.segmentation(&[0; 100]), None);
}
