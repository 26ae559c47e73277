// Enlarges the reader's own picture inside the page. The networks are files of `srkit export`, run by
// ONNX Runtime Web in a worker (try-worker.js); no picture leaves the browser. What can be run is in
// models/models.json, which the book's build writes (tools/in_page.py).
(() => {
const HERE = new URL(".", document.currentScript.src).href;
const MOST = 2e6; // pixels of a picture
const TEMPLATE = `
  <div class="drop" tabindex="-1">
    <label class="file">Drop a picture here, or choose one <input type="file" accept="image/*"></label>
    <span class="own">or take <button type="button" class="cat">the cat</button></span>
  </div>
  <div class="settings">
    <label>Network <select></select></label>
    <label class="alpha" hidden><span>PSNR</span> <input type="range" min="0" max="1" step="0.05" value="0"
      aria-label="from the network for PSNR to the one against a discriminator"> <span>GAN</span>
      <output>0.00</output></label>
  </div>
  <p class="about"></p>
  <p class="status" role="status"></p>
  <div class="work" hidden><progress max="1" value="0"></progress> <button type="button" class="cancel">Cancel</button></div>
  <figure hidden>
    <div class="stage"><canvas class="before"></canvas><canvas class="after"></canvas>
      <input type="range" min="0" max="100" value="50" aria-label="before, after"><div class="bar"></div></div>
    <figcaption><span>the browser's own enlargement</span><span class="after-name"></span></figcaption>
    <p><label><input type="checkbox" class="one"> pixel for pixel</label> <a class="save" download>Save as PNG</a></p>
  </figure>`;

class Try {
  constructor(root, catalogue) {
    this.catalogue = catalogue;
    this.networks = root.dataset.networks.split(" ").map(id => catalogue.networks.find(n => n.id === id));
    root.innerHTML = TEMPLATE;
    this.at = selector => root.querySelector(selector);
    this.at("select").append(...this.networks.map(n => new Option(n.label, n.id)));
    this.job = 0;
    this.at("[type=file]").onchange = event => this.take(event.target.files[0]);
    this.at(".cat").onclick = async () =>
      this.take(new File([await (await fetch(HERE + "models/cat.png")).blob()], "cat.png"));
    this.at("select").onchange = () => { this.tell(); this.enlarge(); };
    this.at(".alpha input").oninput = event => {
      this.at("output").value = Number(event.target.value).toFixed(2);
      this.enlarge();
    };
    this.at(".cancel").onclick = () => { this.stop(); this.say("Cancelled."); };
    const slide = this.at(".stage [type=range]");
    slide.oninput = () => this.divide(slide.value);
    this.at(".one").onchange = event => this.at(".stage").classList.toggle("large", event.target.checked);
    this.at(".save").onclick = event => this.save(event);
    const drop = this.at(".drop");
    drop.ondragover = event => { event.preventDefault(); drop.classList.add("over"); };
    drop.ondragleave = () => drop.classList.remove("over");
    drop.ondrop = event => {
      event.preventDefault();
      drop.classList.remove("over");
      this.take(event.dataTransfer.files[0]);
    };
    this.root = root;
    this.tell();
  }

  get network() { return this.networks[this.at("select").selectedIndex]; }

  say(words, state = "") {
    this.at(".status").textContent = words;
    this.root.dataset.state = state;
  }

  tell() {
    const { about, alpha } = this.network;
    this.at(".about").textContent = about;
    this.at(".alpha").hidden = !alpha;
  }

  divide(at) {
    this.at(".after").style.clipPath = `inset(0 0 0 ${at}%)`;
    this.at(".bar").style.left = `${at}%`;
  }

  stop() { // a network that is computing hears no message: the worker goes, and its memory with it
    this.worker?.terminate();
    this.worker = null;
    this.job++;
    this.at(".work").hidden = true;
  }

  async take(file) {
    if (!file) return;
    this.stop();
    this.say(`Reading ${file.name} ...`, "busy");
    let bitmap;
    try {
      bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", imageOrientation: "from-image" });
    } catch {
      this.say(`${file.name} is no picture that this browser reads: convert it to PNG or JPEG.`, "refused");
      return;
    }
    const { width, height } = bitmap;
    if (width * height > MOST) {
      bitmap.close();
      this.say(`${file.name} has ${width} x ${height} pixels, and ${MOST / 1e6} million are the most here: ` +
        "crop it, or use `srkit upscale`.", "refused");
      return;
    }
    const canvas = new OffscreenCanvas(width, height), draw = canvas.getContext("2d", { willReadFrequently: true });
    draw.drawImage(bitmap, 0, 0);
    bitmap.close();
    this.picture = draw.getImageData(0, 0, width, height);
    this.name = file.name.replace(/\.[^.]*$/, "");
    this.clear = overWhite(this.picture.data);
    const before = this.at(".before");
    const scale = this.network.scale;
    before.width = scale * width;
    before.height = scale * height;
    draw.putImageData(this.picture, 0, 0);
    const paint = before.getContext("2d");
    paint.imageSmoothingQuality = "high";
    paint.drawImage(canvas, 0, 0, before.width, before.height);
    this.at(".stage").style.aspectRatio = `${width}/${height}`;
    this.at(".stage").style.setProperty("--width", `${before.width}px`);
    this.fresh = true;
    this.enlarge();
  }

  enlarge() {
    if (!this.picture) return;
    const { data, width, height } = this.picture, network = this.network, job = ++this.job;
    const alpha = Number(this.at(".alpha input").value), began = performance.now();
    this.worker ??= new Worker(HERE + "try-worker.js");
    this.worker.onerror = event => this.failed(event.message);
    this.worker.onmessage = ({ data: told }) => {
      if (told.job !== this.job) return;
      if (told.error) return this.failed(told.error);
      if (told.begun) return this.begin(width, height);
      const { x, y, pixels, side, done } = told;
      this.at(".after").getContext("2d").putImageData(new ImageData(pixels, side), x, y);
      this.at("progress").value = done;
      if (done < 1) return;
      this.at(".work").hidden = true;
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      this.at(".after-name").textContent = network.label + (network.alpha ? `, alpha ${alpha.toFixed(2)}` : "");
      this.say(`${width} x ${height} became ${width * network.scale} x ${height * network.scale} in ${seconds} s.` +
        (this.clear ? " What is transparent lies on white." : ""), "done");
    };
    this.at(".work").hidden = false;
    this.say(this.fresh ? "The network is loaded ..." : "Computing ...", "busy");
    this.worker.postMessage({
      job, alpha, network, data, width, height, engine: this.catalogue.engine,
      models: HERE + "models/", home: HERE,
    });
  }

  begin(width, height) { // the old picture stays until there is something of the new one
    const after = this.at(".after"), r = this.network.scale;
    if (this.fresh || after.width !== r * width || after.height !== r * height) {
      after.width = r * width;
      after.height = r * height;
    }
    this.fresh = false;
    this.at("progress").value = 0;
    this.at("figure").hidden = false;
    this.divide(this.at(".stage [type=range]").value);
    this.say("Computing ...", "busy");
  }

  failed(why) {
    this.stop();
    this.say(`This browser could not do it: ${why}`, "failed");
  }

  save(event) {
    if (event.target.href) return; // a click of our own
    event.preventDefault();
    this.at(".after").toBlob(blob => {
      const link = event.target;
      link.href = URL.createObjectURL(blob);
      link.download = `${this.name}_x${this.network.scale}.png`;
      link.click();
      URL.revokeObjectURL(link.href);
      link.removeAttribute("href");
    });
  }
}

/** Lay what is transparent over white, in place; whether there was any. */
function overWhite(data) {
  let clear = false;
  for (let i = 3; i < data.length; i += 4) {
    if (data[i] === 255) continue;
    clear = true;
    for (let c = i - 3; c < i; c++) data[c] = Math.round((data[c] * data[i] + 255 * (255 - data[i])) / 255);
    data[i] = 255;
  }
  return clear;
}

/** The engine comes from this site; where the build had none, from a CDN, after a question. */
function permitted(root, catalogue) {
  if (!catalogue.engine.remote) return Promise.resolve();
  const { size, base } = catalogue.engine;
  root.innerHTML = `<p>The program that runs networks (ONNX Runtime Web, ${size} MB) is not a part of this copy of the
    book; <code>make vendor</code> would put it in. <button type="button" class="load">Load it from
    ${new URL(base).host}</button> The files are checked by their hashes, and your pictures stay here.</p>`;
  return new Promise(done => { root.querySelector(".load").onclick = done; });
}

document.addEventListener("DOMContentLoaded", async () => {
  const roots = document.querySelectorAll(".srkit-try");
  const found = await fetch(HERE + "models/models.json").catch(() => null);
  if (!found?.ok) {
    roots.forEach(root => { root.textContent = "Networks run where the book is served, by `make serve` or on a " +
      "site; a page that is opened as a file may not read them."; });
    return;
  }
  const catalogue = await found.json();
  for (const root of roots) permitted(root, catalogue).then(() => { root.srkit = new Try(root, catalogue); });
});
})();
