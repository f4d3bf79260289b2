// The report's script: a small WebGL viewer for one textured mesh, and the before/after slider. glTF axes: +Y up, +Z
// towards the viewer.
(function () {
  "use strict";
  const figure = document.getElementById("compare");
  const cut = figure.querySelector("input");
  cut.addEventListener("input", function () { figure.style.setProperty("--cut", cut.value + "%"); });
  const afters = Array.from(figure.querySelectorAll(".after")), names = Array.from(figure.querySelectorAll("button"));
  names.forEach(function (button, chosen) {
    button.addEventListener("click", function () {
      afters.forEach(function (image, i) { image.hidden = i !== chosen; });
      names.forEach(function (one, i) { one.setAttribute("aria-pressed", String(i === chosen)); });
    });
  });
})();

(function () {
  "use strict";
  const box = document.getElementById("viewer");
  const canvas = box.querySelector("canvas");
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const gl = canvas.getContext("webgl", { antialias: true, alpha: true, preserveDrawingBuffer: true });
  if (!gl || (data.wide && !gl.getExtension("OES_element_index_uint"))) { box.classList.add("flat"); return; }

  const VERTEX = `
    attribute vec3 position; attribute vec3 normal; attribute vec2 uv;
    uniform mat4 view; uniform mat4 projection; uniform vec3 centre;
    varying vec2 vUv; varying vec3 vNormal; varying vec3 vSeen;
    void main() {
      vec4 seen = view * vec4(position - centre, 1.0);
      vUv = vec2(uv.x, 1.0 - uv.y); vNormal = normal; vSeen = mat3(view) * normal;
      gl_Position = projection * seen;
    }`;
  // mode 0: the photo as it is; 1: albedo under the light; 2: clay under the same light, with some from the sky.
  const FRAGMENT = `
    precision mediump float;
    varying vec2 vUv; varying vec3 vNormal; varying vec3 vSeen;
    uniform sampler2D texture; uniform int mode; uniform vec3 light; uniform float ambient; uniform float diffuse;
    void main() {
      vec3 normal = normalize(vNormal);
      float lit = max(0.0, dot(normal, light));
      vec3 colour = texture2D(texture, vUv).rgb;
      if (mode == 1) colour *= ambient + diffuse * lit;
      if (mode == 2) colour = vec3(0.90, 0.87, 0.83) * (0.30 + 0.10 * normal.y + 0.68 * lit);
      if (!gl_FrontFacing) colour = mix(colour, vec3(0.80, 0.81, 0.83), 0.85);
      gl_FragColor = vec4(colour, 1.0);
    }`;

  function bytes(text) { return Uint8Array.from(atob(text), function (c) { return c.charCodeAt(0); }).buffer; }
  function shader(kind, source) {
    const made = gl.createShader(kind);
    gl.shaderSource(made, source); gl.compileShader(made);
    if (!gl.getShaderParameter(made, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(made));
    return made;
  }
  const program = gl.createProgram();
  try {
    gl.attachShader(program, shader(gl.VERTEX_SHADER, VERTEX));
    gl.attachShader(program, shader(gl.FRAGMENT_SHADER, FRAGMENT));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  } catch (problem) { box.classList.add("flat"); return; }
  gl.useProgram(program);

  function buffer(target, array) {
    const made = gl.createBuffer();
    gl.bindBuffer(target, made); gl.bufferData(target, array, gl.STATIC_DRAW);
    return made;
  }
  const positions = new Float32Array(bytes(data.positions));
  const faces = data.wide ? new Uint32Array(bytes(data.faces)) : new Uint16Array(bytes(data.faces));
  const buffers = {
    position: buffer(gl.ARRAY_BUFFER, positions),
    normal: buffer(gl.ARRAY_BUFFER, new Float32Array(bytes(data.normals))),
    photo: buffer(gl.ARRAY_BUFFER, new Float32Array(bytes(data.uvPhoto))),
    albedo: buffer(gl.ARRAY_BUFFER, new Float32Array(bytes(data.uvAlbedo))),
  };
  buffer(gl.ELEMENT_ARRAY_BUFFER, faces);

  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (let i = 0; i < positions.length; i++) {
    low[i % 3] = Math.min(low[i % 3], positions[i]); high[i % 3] = Math.max(high[i % 3], positions[i]);
  }
  const centre = low.map(function (v, i) { return (v + high[i]) / 2; });
  const radius = Math.hypot(high[0] - low[0], high[1] - low[1], high[2] - low[2]) / 2;
  const lightStart = data.light.direction;
  const start = { yaw: 0, pitch: 0, zoom: 1, lightX: lightStart[0], lightY: lightStart[1] };
  const state = Object.assign({ mode: 2, touched: false }, start);
  const limits = { yaw: [-1.484, 1.484], pitch: [-1.222, 1.222], lightX: [-2, 2], lightY: [-2, 2], zoom: [0.5, 6] };
  const sliders = Array.from(box.querySelectorAll("[data-slider]"));
  const DEGREES = 180 / Math.PI;

  // Every change of view and light goes through here, so that sliders, drags and keys show the same.
  function change(values) {
    Object.keys(values).forEach(function (name) {
      state[name] = Math.max(limits[name][0], Math.min(limits[name][1], values[name]));
    });
    sliders.forEach(function (slider) {
      const name = slider.dataset.slider, isAngle = name === "yaw" || name === "pitch";
      slider.value = isAngle ? state[name] * DEGREES : state[name];
      const text = isAngle ? Math.round(state[name] * DEGREES) + "°" : state[name].toFixed(1);
      slider.parentElement.querySelector("output").textContent = text;
      slider.setAttribute("aria-valuetext", text);
    });
    render();
  }

  function texture(uri, unit) {
    const made = gl.createTexture(), image = new Image();
    gl.activeTexture(gl.TEXTURE0 + unit); gl.bindTexture(gl.TEXTURE_2D, made);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, 1, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, new Uint8Array([200, 200, 200]));
    image.onload = function () {
      gl.activeTexture(gl.TEXTURE0 + unit); gl.bindTexture(gl.TEXTURE_2D, made);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, image);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
      render();
    };
    image.src = uri;
  }
  function attribute(name, source, width) {
    const at = gl.getAttribLocation(program, name);
    if (at < 0) return;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[source]);
    gl.enableVertexAttribArray(at); gl.vertexAttribPointer(at, width, gl.FLOAT, false, 0, 0);
  }
  function uniform(name) { return gl.getUniformLocation(program, name); }

  function render() {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio)), height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT); gl.enable(gl.DEPTH_TEST);
    const half = Math.tan(0.2), aspect = width / height;
    const distance = radius * 0.98 / Math.sin(Math.atan(half * Math.min(1, aspect))) / state.zoom;
    const near = distance / 20, far = distance * 4;
    const cy = Math.cos(state.yaw), sy = Math.sin(state.yaw), cp = Math.cos(state.pitch), sp = Math.sin(state.pitch);
    // Columns of Rx(pitch) Ry(yaw), then a step back from the eye.
    const view = [cy, sp * sy, -cp * sy, 0, 0, cp, sp, 0, sy, -sp * cy, cp * cy, 0, 0, 0, -distance, 1];
    const projection = [1 / (half * aspect), 0, 0, 0, 0, 1 / half, 0, 0, 0, 0, (far + near) / (near - far), -1,
      0, 0, 2 * far * near / (near - far), 0];
    const norm = Math.hypot(state.lightX, state.lightY, 1);
    gl.uniformMatrix4fv(uniform("view"), false, view);
    gl.uniformMatrix4fv(uniform("projection"), false, projection);
    gl.uniform3fv(uniform("centre"), centre);
    gl.uniform3f(uniform("light"), state.lightX / norm, state.lightY / norm, 1 / norm);
    gl.uniform1f(uniform("ambient"), data.light.ambient); gl.uniform1f(uniform("diffuse"), data.light.diffuse);
    gl.uniform1i(uniform("mode"), state.mode);
    gl.uniform1i(uniform("texture"), state.mode === 0 ? 0 : 1);
    attribute("position", "position", 3); attribute("normal", "normal", 3);
    attribute("uv", state.mode === 0 ? "photo" : "albedo", 2);
    gl.drawElements(gl.TRIANGLES, faces.length, data.wide ? gl.UNSIGNED_INT : gl.UNSIGNED_SHORT, 0);
  }

  sliders.forEach(function (slider) {
    slider.addEventListener("input", function () {
      const name = slider.dataset.slider, isAngle = name === "yaw" || name === "pitch";
      state.touched = true;
      if (!isAngle && state.mode === 0) select(2);  // the photo's own light does not move
      change({ [name]: Number(slider.value) / (isAngle ? DEGREES : 1) });
    });
  });

  // Pointers: one turns the shape (of a finger only what goes sideways, the page scrolls by the rest), two zoom it.
  const pointers = new Map();
  function spread() {
    const ends = Array.from(pointers.values());
    return Math.hypot(ends[0].clientX - ends[1].clientX, ends[0].clientY - ends[1].clientY);
  }
  canvas.addEventListener("pointerdown", function (event) {
    state.touched = true; pointers.set(event.pointerId, event); canvas.setPointerCapture(event.pointerId);
  });
  ["pointerup", "pointercancel"].forEach(function (name) {
    canvas.addEventListener(name, function (event) { pointers.delete(event.pointerId); });
  });
  canvas.addEventListener("pointermove", function (event) {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const apart = pointers.size === 2 ? spread() : 0;
    pointers.set(event.pointerId, event);
    const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
    if (pointers.size === 2) change({ zoom: state.zoom * spread() / Math.max(apart, 1) });
    else if (event.shiftKey) { if (state.mode === 0) select(2); change({ lightX: state.lightX + dx * 0.01, lightY: state.lightY - dy * 0.01 }); }
    else change({ yaw: state.yaw + dx * 0.008, pitch: state.pitch + (event.pointerType === "touch" ? 0 : dy * 0.008) });
  });
  canvas.addEventListener("wheel", function (event) {
    if (!event.ctrlKey && !event.metaKey) return;  // a plain wheel scrolls the page
    event.preventDefault(); state.touched = true; change({ zoom: state.zoom * Math.exp(-event.deltaY * 0.004) });
  }, { passive: false });
  function reset() { state.touched = true; change(start); }
  canvas.addEventListener("dblclick", reset);
  box.querySelector("[data-reset]").addEventListener("click", reset);
  canvas.addEventListener("keydown", function (event) {
    const across = { ArrowLeft: -1, ArrowRight: 1 }[event.key] || 0, up = { ArrowUp: 1, ArrowDown: -1 }[event.key] || 0;
    const zoom = { "+": 1.15, "=": 1.15, "-": 1 / 1.15 }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || !(across || up || zoom || event.key === "0")) return;
    event.preventDefault(); state.touched = true;
    if (zoom) change({ zoom: state.zoom * zoom });
    else if (event.key === "0") reset();
    else if (event.shiftKey) { if (state.mode === 0) select(2); change({ lightX: state.lightX + 0.1 * across, lightY: state.lightY + 0.1 * up }); }
    else change({ yaw: state.yaw + 0.087 * across, pitch: state.pitch - 0.087 * up });
  });
  const buttons = Array.from(box.querySelectorAll("[data-mode]"));
  function select(mode) {
    state.mode = mode;
    buttons.forEach(function (b) { b.setAttribute("aria-pressed", String(Number(b.dataset.mode) === mode)); });
    render();
  }
  buttons.forEach(function (b) { b.addEventListener("click", function () { select(Number(b.dataset.mode)); }); });
  window.addEventListener("resize", render);

  texture(data.photo, 0); texture(data.albedo, 1); change({});
  // Swings gently until it is touched, so that one sees it is solid.
  if (!window.matchMedia("(prefers-reduced-motion: reduce)").matches) {
    const began = performance.now();
    (function swing(now) {
      if (state.touched) return;
      const t = (now - began) / 1000;
      change({ yaw: 0.5 * Math.sin(t * 0.8), pitch: 0.08 * Math.sin(t * 0.5) });
      requestAnimationFrame(swing);
    })(began);
  }
})();
