// One picture through one network, in tiles. Cut and put together as srkit/inference.py does it: what
// is computed has one size, and the overlap with others is dropped.
let engine, session, loaded = "", latest = 0, work = Promise.resolve();

onmessage = ({ data }) => {
  latest = data.job;
  work = work.then(() => run(data)).catch(error => postMessage({ job: data.job, error: error?.message ?? String(error) }));
};

/** The three files of ONNX Runtime Web, taken only if they have the hashes that the book knows. */
async function start({ engine: { base, hashes }, home }) {
  const root = new URL(base, home).href;
  const blob = async (name, type) => {
    const answer = await fetch(root + name, { integrity: hashes[name] });
    if (!answer.ok) throw new Error(`${root + name}: ${answer.status}`);
    return new Blob([await answer.arrayBuffer()], { type });
  };
  const [program, glue, wasm] = await Promise.all([
    blob("ort.wasm.min.js", "text/javascript"), blob("ort-wasm-simd-threaded.mjs", "text/javascript"),
    blob("ort-wasm-simd-threaded.wasm", "application/wasm"),
  ]);
  importScripts(URL.createObjectURL(program));
  ort.env.wasm.numThreads = 1; // more would need headers that few sites send
  ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(glue) };
  ort.env.wasm.wasmBinary = await wasm.arrayBuffer();
}

const windows = (length, tile, overlap) => {
  const count = Math.ceil(length / tile), side = 2 * overlap - Math.floor((2 * overlap - length) / count);
  if (side >= length) return [[0, length, 0, length]];
  const starts = Array.from({ length: count }, (_, i) => Math.floor(i * (length - side) / (count - 1)));
  const cuts = starts.slice(1).map((next, i) => Math.floor((starts[i] + side + next) / 2));
  return starts.map((start, i) => [cuts[i - 1] ?? 0, cuts[i] ?? length, start, start + side]);
};
const pause = () => new Promise(done => setTimeout(done)); // lets messages in

async function run({ job, alpha, network, data, width, height, engine: from, models, home }) {
  if (job !== latest) return;
  engine ??= start({ engine: from, home });
  await engine;
  if (loaded !== network.file) {
    await session?.release();
    session = await ort.InferenceSession.create(models + network.file);
    loaded = network.file;
  }
  if (job !== latest) return;
  postMessage({ job, begun: true });
  const { scale: r, tile, overlap, least } = network;
  const rows = windows(height, tile, overlap), columns = windows(width, tile, overlap);
  const all = rows.length * columns.length;
  let done = 0;
  for (const [top, bottom, y, below] of rows) for (const [left, right, x, beside] of columns) {
    await pause();
    if (job !== latest) return;
    const h = below - y, w = beside - x;
    const H = Math.max(h, least), W = Math.max(w, least); // the edge is repeated below the least size
    const lr = new Float32Array(3 * H * W);
    for (let c = 0, k = 0; c < 3; c++) for (let i = 0; i < H; i++) for (let j = 0; j < W; j++, k++)
      lr[k] = data[4 * ((y + Math.min(i, h - 1)) * width + x + Math.min(j, w - 1)) + c] / 255;
    const feeds = { lr: new ort.Tensor("float32", lr, [1, 3, H, W]) };
    if (network.alpha) feeds.alpha = new ort.Tensor("float32", [alpha], []);
    const { sr } = await session.run(feeds);
    const pixels = new Uint8ClampedArray(4 * r * r * (bottom - top) * (right - left));
    let k = 0;
    for (let i = r * (top - y); i < r * (bottom - y); i++) for (let j = r * (left - x); j < r * (right - x); j++, k += 4) {
      for (let c = 0; c < 3; c++) pixels[k + c] = Math.floor(255 * sr.data[(c * r * H + i) * r * W + j] + 0.5);
      pixels[k + 3] = 255;
    }
    sr.dispose();
    done++;
    postMessage({ job, x: r * left, y: r * top, side: r * (right - left), pixels, done: done / all }, [pixels.buffer]);
  }
}
