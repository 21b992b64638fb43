#!/bin/sh
# Compiles collatz.c beside itself, or to the path given. The committed module is from Debian 12's packages:
# apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32
set -eu
cd "$(dirname "$0")"
clang --target=wasm32-wasi --sysroot=/usr -O2 -Wall -Wextra -Werror -Wl,--strip-all -o "${1:-collatz.wasm}" collatz.c
