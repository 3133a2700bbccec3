// The page: a source in, the text as it comes, and where the decoder looked. It talks to its own server alone.

const $ = (id) => document.getElementById(id);
const state = { images: [], pdf: null, kept: null, running: null, model: null, attention: null, chosen: -1 };

// ---- The server ----

function headers() {
  const found = { "Content-Type": "application/json" };
  const key = sessionStorage.getItem("t5g-key");
  if (key) found.Authorization = `Bearer ${key}`;
  return found;
}

async function ask(path, body, signal) {
  const method = body === undefined ? "GET" : "POST";
  const answer = await fetch(path, { method, headers: headers(), body: body && JSON.stringify(body), signal });
  if (answer.ok) return answer;
  if (answer.status === 401) $("key-form").hidden = false;
  let message = `the server answered ${answer.status}`;
  try { message = (await answer.json()).error.message; } catch { /* no JSON */ }
  throw new Error(message);
}

const askJson = async (path, body, signal) => (await ask(path, body, signal)).json();

// The objects of server-sent events.
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

// ---- The source ----

function changed() {
  state.kept = null;
}

function dataUri(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read`));
    reader.readAsDataURL(file);
  });
}

async function take(files) {
  showError("");
  try {
    for (const file of files) {
      if (file.type.startsWith("image/")) {
        if (!state.model?.has_vision) throw new Error("this model reads no images");
        state.images.push(await dataUri(file));
      } else if (file.type === "application/pdf" || /\.pdf$/i.test(file.name)) {
        state.pdf = (await dataUri(file)).replace(/^data:[^;,]*/, "data:application/pdf");
        $("source").value = "";
        $("source-note").textContent = file.name;
      } else {
        state.pdf = null;
        $("source").value = await file.text();
        $("source-note").textContent = file.name;
      }
      changed();
      edit();
    }
  } catch (error) {
    showError(error.message);
  }
  showImages();
}

function showImages() {
  $("images").replaceChildren(...state.images.map((uri, i) => {
    const item = document.createElement("li");
    const image = document.createElement("img");
    image.src = uri;
    image.alt = `Image ${i + 1}`;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "×";
    button.setAttribute("aria-label", `Remove image ${i + 1}`);
    button.onclick = () => { state.images.splice(i, 1); changed(); showImages(); edit(); };
    item.append(image, button);
    return item;
  }));
}

function edit() {
  $("source").hidden = false;
  $("source-tokens").hidden = $("edit").hidden = true;
}

// Reads the source once; asking again about it reads nothing.
async function kept(signal) {
  if (state.kept) return state.kept;
  const text = $("source").value;
  const body = { with_pieces: true };
  if (state.images.length) body.images = state.images;
  if (state.pdf) body.file = state.pdf;
  else if (state.model?.has_chat_template) body.messages = [{ role: "user", content: text }];
  else body.input = text;
  const made = await askJson("v1/sources", body, signal);
  if (made.text !== undefined) $("source").value = made.text;
  state.kept = made;
  return made;
}

// ---- Writing ----

async function run() {
  if (state.running) return;
  const stopper = new AbortController();
  state.running = stopper;
  showRunning(true);
  showError("");
  clearOutput();
  let ids = null;
  try {
    note("reading the source…");
    const source = await kept(stopper.signal);
    $("source-note").textContent = `${source.n_tokens} tokens`;
    showSource(source.pieces);
    const body = {
      source: source.id, stream: true, stream_options: { include_usage: true }, return_token_ids: true,
      max_tokens: Number($("max-tokens").value) || 256,
    };
    if ($("temperature").value !== "") body.temperature = Number($("temperature").value);
    if ($("prefix").value) body.decoder_prefix = $("prefix").value;
    note("writing…");
    const start = performance.now();
    const answer = await ask("v1/completions", body, stopper.signal);
    for await (const event of events(answer)) {
      const choice = event.choices[0];
      if (choice) {
        $("output").append(choice.text);
        if (choice.token_ids) ids = choice.token_ids;
        if (choice.finish_reason === "length") note("the length ran out");
      }
      if (event.usage) {
        const seconds = (performance.now() - start) / 1000;
        note(`${event.usage.completion_tokens} tokens in ${seconds.toFixed(1)} s`);
      }
    }
    await explain(source, ids, body.decoder_prefix ?? null, stopper.signal);
  } catch (error) {
    if (error.name === "AbortError") note("stopped");
    else { note(""); showError(error.message); }
    if (/no such source/.test(error.message)) changed();
  } finally {
    state.running = null;
    showRunning(false);
    $("copy").disabled = !$("output").textContent;
  }
}

function showRunning(running) {
  $("run").hidden = running;
  $("stop").hidden = !running;
}

function note(text) { $("output-note").textContent = text; }

function showError(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

function clearOutput() {
  $("output").replaceChildren();
  $("hint").hidden = true;
  state.attention = null;
  state.chosen = -1;
}

function spans(pieces) {
  return pieces.map((piece) => {
    const span = document.createElement("span");
    span.textContent = piece;
    if (/^<[^<>\s]+>$/.test(piece)) span.className = "special";
    return span;
  });
}

// ---- Where the decoder looked ----

function showSource(pieces) {
  $("source-tokens").replaceChildren(...spans(pieces));
  $("source").hidden = true;
  $("source-tokens").hidden = $("edit").hidden = false;
}

async function explain(source, ids, prefix, signal) {
  if (!ids?.length) return;
  const [words, looked] = await Promise.all([
    askJson("detokenize", { tokens: ids, with_pieces: true }, signal),
    askJson("v1/attention", { source: source.id, tokens: ids, decoder_prefix: prefix }, signal),
  ]);
  const bytes = Uint8Array.from(atob(looked.weights), (c) => c.charCodeAt(0));
  state.attention = { weights: new Float32Array(bytes.buffer), width: looked.n_source };
  const last = words.pieces.length - 1;
  if (/^<[^>]*>$/.test(words.pieces[last])) words.pieces[last] = "";  // the end token is no text
  $("output").replaceChildren(...spans(words.pieces));
  $("hint").hidden = false;
}

function choose(index) {
  const output = $("output").children;
  output[state.chosen]?.classList.remove("chosen");
  state.chosen = index;
  output[index]?.classList.add("chosen");
  const source = $("source-tokens").children;
  const { weights, width } = state.attention ?? {};
  let most = 0, best = -1;
  for (let i = 0; weights && index >= 0 && i < width; i++) {
    // The first token takes what no other wants: it would pale all others.
    const weight = weights[index * width + i];
    if (i > 0 && weight > most) { most = weight; best = i; }
  }
  for (let i = 0; i < source.length; i++) {
    const weight = most > 0 ? Math.min(1, weights[index * width + i] / most) : 0;
    source[i].style.setProperty("--weight", weight > 0.05 ? (0.75 * weight).toFixed(3) : "0");
  }
  source[best]?.scrollIntoView({ block: "nearest" });
}

// ---- Events ----

const isMine = (element) => element.parentElement === $("output");
const indexOf = (element) => [...$("output").children].indexOf(element);

$("output").addEventListener("pointerover", (e) => { if (state.attention && isMine(e.target)) choose(indexOf(e.target)); });
$("output").addEventListener("click", (e) => { if (state.attention && isMine(e.target)) choose(indexOf(e.target)); });
$("output").addEventListener("keydown", (e) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
  if (!step || !state.attention) return;
  e.preventDefault();
  choose(Math.max(0, Math.min($("output").children.length - 1, state.chosen + step)));
});
$("run").onclick = run;
$("stop").onclick = () => state.running?.abort();
$("edit").onclick = () => { edit(); $("source").focus(); };
$("open").onclick = () => $("file").click();
$("file").onchange = () => { take([...$("file").files]); $("file").value = ""; };
$("source").oninput = () => { state.pdf = null; $("source-note").textContent = ""; changed(); };
$("key-form").onsubmit = (e) => {
  e.preventDefault();
  sessionStorage.setItem("t5g-key", $("key").value);
  greet();
};
$("copy").onclick = async () => {
  const text = $("output").textContent;
  try {
    await navigator.clipboard.writeText(text);
    note("copied");
  } catch {  // no clipboard on plain HTTP from elsewhere: leave the text selected
    getSelection().selectAllChildren($("output"));
    note("press Ctrl+C to copy");
  }
};
document.addEventListener("keydown", (e) => {
  if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); run(); }
  if (e.key === "Escape") state.running?.abort();
});
document.addEventListener("paste", (e) => {
  const files = [...e.clipboardData.files];
  if (files.length) { e.preventDefault(); take(files); }
});
document.addEventListener("dragover", (e) => { e.preventDefault(); document.body.classList.add("dropping"); });
document.addEventListener("dragleave", (e) => { if (!e.relatedTarget) document.body.classList.remove("dropping"); });
document.addEventListener("drop", async (e) => {
  e.preventDefault();
  document.body.classList.remove("dropping");
  if (e.dataTransfer.files.length) await take([...e.dataTransfer.files]);
  else {
    state.pdf = null;
    $("source").value = e.dataTransfer.getData("text/plain");
    changed();
    edit();
  }
});

async function greet() {
  try {
    const { data: [model] } = await askJson("v1/models");
    state.model = model.t5g;
    $("key-form").hidden = true;
    $("model").textContent = `${model.id}, ${model.t5g.architecture} on ${model.t5g.device}`;
    $("error").hidden = true;
  } catch (error) {
    showError(error.message);
  }
}

greet();
$("source").focus();
