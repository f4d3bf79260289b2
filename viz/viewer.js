// A small WebGL viewer for one textured height field. glTF axes: +Y up, +Z towards the viewer.
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
  // mode 0: the photo as it is; 1: albedo under a light; 2: white clay under the same light.
  const FRAGMENT = `
    precision mediump float;
    varying vec2 vUv; varying vec3 vNormal; varying vec3 vSeen;
    uniform sampler2D texture; uniform int mode; uniform vec3 light; uniform float ambient; uniform float diffuse;
    void main() {
      float shading = ambient + diffuse * max(0.0, dot(normalize(vNormal), light));
      vec3 colour = mode == 2 ? vec3(0.86, 0.85, 0.83) : texture2D(texture, vUv).rgb;
      if (mode > 0) colour *= shading;
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
  const start = { yaw: 0, pitch: 0, zoom: 1 };
  const state = { yaw: 0, pitch: 0, zoom: 1, mode: 0, lightX: lightStart[0], lightY: lightStart[1], touched: false };

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

  let last = null;
  canvas.addEventListener("pointerdown", function (event) {
    state.touched = true; last = event; canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointerup", function () { last = null; });
  canvas.addEventListener("pointermove", function (event) {
    if (!last) return;
    const dx = event.clientX - last.clientX, dy = event.clientY - last.clientY;
    last = event;
    if (event.shiftKey) {
      state.lightX = Math.max(-3, Math.min(3, state.lightX + dx * 0.01));
      state.lightY = Math.max(-3, Math.min(3, state.lightY - dy * 0.01));
      if (state.mode === 0) select(1);
    } else {
      state.yaw = Math.max(-1.5, Math.min(1.5, state.yaw + dx * 0.008));
      state.pitch = Math.max(-1.3, Math.min(1.3, state.pitch + dy * 0.008));
    }
    render();
  });
  canvas.addEventListener("wheel", function (event) {
    event.preventDefault(); state.touched = true;
    state.zoom = Math.max(0.4, Math.min(6, state.zoom * Math.exp(-event.deltaY * 0.0012))); render();
  }, { passive: false });
  canvas.addEventListener("dblclick", function () {
    Object.assign(state, start, { lightX: lightStart[0], lightY: lightStart[1] }); render();
  });
  const buttons = Array.from(box.querySelectorAll("button"));
  function select(mode) {
    state.mode = mode;
    buttons.forEach(function (b) { b.setAttribute("aria-pressed", String(Number(b.dataset.mode) === mode)); });
    render();
  }
  buttons.forEach(function (b) { b.addEventListener("click", function () { select(Number(b.dataset.mode)); }); });
  window.addEventListener("resize", render);

  texture(data.photo, 0); texture(data.albedo, 1); render();
  // Swings gently until it is touched, so that one sees it is solid.
  if (!window.matchMedia("(prefers-reduced-motion: reduce)").matches) {
    const began = performance.now();
    (function swing(now) {
      if (state.touched) return;
      const t = (now - began) / 1000;
      state.yaw = 0.5 * Math.sin(t * 0.8); state.pitch = 0.08 * Math.sin(t * 0.5); render();
      requestAnimationFrame(swing);
    })(began);
  }
})();
