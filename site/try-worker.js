// One picture through one network, in tiles. Cut and put together as srkit/inference.py does it: all
// tiles nearly equal, each computed with an overlap that is dropped.
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

const spans = (length, tile) => {
  const count = Math.ceil(length / tile);
  return Array.from({ length: count }, (_, i) => [Math.floor(i * length / count), Math.floor((i + 1) * length / count)]);
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
  const rows = spans(height, tile), columns = spans(width, tile), all = rows.length * columns.length;
  let done = 0;
  for (const [top, bottom] of rows) for (const [left, right] of columns) {
    await pause();
    if (job !== latest) return;
    const y = Math.max(0, top - overlap), x = Math.max(0, left - overlap);
    const h = Math.min(height, bottom + overlap) - y, w = Math.min(width, right + overlap) - x;
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
