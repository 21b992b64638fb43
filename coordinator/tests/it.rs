//! A real coordinator over TLS on loopback, and what friends and strangers say to it.

mod it {
    mod admin;
    mod backup;
    mod blobs;
    mod door;
    mod grid;
    mod jobs;
    mod records;
    mod rights;
    mod streams;
    mod support;
}
