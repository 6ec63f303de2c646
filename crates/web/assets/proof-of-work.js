/* The proof of work, in a worker. It searches for a counter whose key has the prefix that an ALTCHA
   challenge (version 2) requires. The key is derived from the nonce and the counter by repeated
   SHA-256 or by PBKDF2. The worker gets { challenge, most }. While it searches, it sends { share },
   the part of the `most` tries that is done, and at the end { payload } or { failed }. */
const TELL_MS = 200,
  COUNTER_MAX = 2 ** 32;
const AT_ONCE = 8; /* the number of keys that PBKDF2 derives at the same time, on several cores */

const K = new Uint32Array(64),
  START = new Uint32Array(8);
{
  /* The constants of SHA-256: the fractional parts of the square roots and cube roots of the first
     primes. */
  const part = x => Math.floor((x - Math.floor(x)) * 2 ** 32);
  for (let n = 2, found = 0; found < 64; n += 1) {
    let prime = true;
    for (let d = 2; d * d <= n; d += 1)
      if (n % d === 0) {
        prime = false;
        break;
      }
    if (!prime) continue;
    if (found < 8) START[found] = part(Math.sqrt(n));
    K[found] = part(Math.cbrt(n));
    found += 1;
  }
}
const W = new Int32Array(64),
  KEYS = new Int32Array(K);
/** Mixes the 16 words in W into `state`. The device spends nearly all of its time here. */
function mix(state) {
  for (let i = 16; i < 64; i += 1) {
    const x = W[i - 15],
      y = W[i - 2];
    W[i] =
      (W[i - 16] +
        W[i - 7] +
        (((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3)) +
        (((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10))) |
      0;
  }
  let a = state[0] | 0,
    b = state[1] | 0,
    c = state[2] | 0,
    d = state[3] | 0,
    e = state[4] | 0,
    f = state[5] | 0,
    g = state[6] | 0,
    h = state[7] | 0;
  for (let i = 0; i < 64; i += 1) {
    const t1 =
      (h +
        (((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))) +
        (g ^ (e & (f ^ g))) +
        KEYS[i] +
        W[i]) |
      0;
    const t2 =
      ((((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))) +
        ((a & b) ^ (c & (a ^ b)))) |
      0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
  state[5] += f;
  state[6] += g;
  state[7] += h;
}
/** `before` is the number of bytes that `state` already contains. */
function finish(state, bytes, before = 0) {
  const blocks = (bytes.length + 9 + 63) >> 6,
    padded = new DataView(new ArrayBuffer(blocks * 64));
  bytes.forEach((b, i) => padded.setUint8(i, b));
  padded.setUint8(bytes.length, 0x80);
  padded.setUint32(blocks * 64 - 4, (before + bytes.length) * 8);
  for (let at = 0; at < blocks * 64; at += 4) {
    W[(at / 4) % 16] = padded.getUint32(at);
    if ((at / 4) % 16 === 15) mix(state);
  }
  return state;
}
/** Writes a hash into `out`. The hash continues the state `from`, which contains `before` bytes,
   with the 32 bytes in `words`. */
function finishWords(out, from, words, before) {
  W.set(words);
  W[8] = 0x80000000 | 0;
  W.fill(0, 9, 15);
  W[15] = (before + 32) * 8;
  out.set(from);
  mix(out);
}
const join = (a, b) => {
  const all = new Uint8Array(a.length + b.length);
  all.set(a);
  all.set(b, a.length);
  return all;
};
const bytesOf = words =>
  Uint8Array.from({ length: 32 }, (_, i) => words[i >> 2] >>> (24 - (i & 3) * 8));
const unhex = text => Uint8Array.from(text.match(/../g) ?? [], pair => parseInt(pair, 16));
const hex = bytes => Array.from(bytes, b => b.toString(16).padStart(2, '0')).join('');

function hashed(salt, password, cost) {
  const state = finish(START.slice(), join(salt, password));
  for (let i = 1; i < cost; i += 1) finishWords(state, START, state, 0);
  return bytesOf(state);
}
/* Without HTTPS, the browser does not offer its own PBKDF2. */
function stretchedHere(salt, password, cost) {
  const pad = byte => {
    const block = new Uint8Array(64).fill(byte);
    password.forEach((b, i) => {
      block[i] ^= b;
    });
    return block;
  };
  const start = block => {
    const state = START.slice(),
      view = new DataView(block.buffer);
    for (let i = 0; i < 16; i += 1) W[i] = view.getUint32(i * 4);
    mix(state);
    return state;
  };
  const inner = start(pad(0x36)),
    outer = start(pad(0x5c));
  const u = finish(inner.slice(), join(salt, [0, 0, 0, 1]), 64);
  finishWords(u, outer, u, 64);
  const key = u.slice();
  for (let i = 1; i < cost; i += 1) {
    finishWords(u, inner, u, 64);
    finishWords(u, outer, u, 64);
    for (let j = 0; j < 8; j += 1) key[j] ^= u[j];
  }
  return bytesOf(key);
}
async function stretched(salt, password, cost) {
  const key = await crypto.subtle.importKey('raw', password, 'PBKDF2', false, ['deriveBits']);
  return new Uint8Array(
    await crypto.subtle.deriveBits(
      { name: 'PBKDF2', hash: 'SHA-256', salt, iterations: cost },
      key,
      256,
    ),
  );
}
const ways = {
  'SHA-256': hashed,
  'PBKDF2/SHA-256': self.crypto?.subtle ? stretched : stretchedHere,
};

async function search(challenge, most) {
  const { algorithm, cost, keyLength, keyPrefix, nonce, salt } = challenge.parameters;
  const derive = ways[algorithm.toUpperCase()],
    salted = unhex(salt),
    before = unhex(nonce),
    started = performance.now();
  const keyOf = counter =>
    derive(
      salted,
      join(before, [counter >>> 24, counter >>> 16, counter >>> 8, counter]),
      Math.max(1, cost),
    );
  let told = started;
  for (let counter = 0; counter < COUNTER_MAX; counter += AT_ONCE) {
    const keys = await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => keyOf(counter + i)));
    const texts = keys.map(key => hex(key.subarray(0, keyLength))),
      at = texts.findIndex(key => key.startsWith(keyPrefix.toLowerCase()));
    if (at >= 0) {
      const solution = {
        counter: counter + at,
        derivedKey: texts[at],
        time: Math.round(performance.now() - started),
      };
      return postMessage({ payload: btoa(JSON.stringify({ challenge, solution })) });
    }
    if (performance.now() - told > TELL_MS) {
      told = performance.now();
      postMessage({ share: Math.min(1, counter / most) });
    }
  }
  return postMessage({ failed: true });
}
self.onmessage = ({ data }) =>
  search(data.challenge, data.most).catch(() => postMessage({ failed: true }));
