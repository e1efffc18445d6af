// @ts-check
import { createRequire } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'

// The thread in which one HEIC is decoded (heic.ts). It is JavaScript, to be the same file in worker.zip.

/** @type {{ bytes: Uint8Array, code: WebAssembly.Module, mostBytes: number, isLoaded: Uint8Array }} */
const { bytes, code, mostBytes, isLoaded } = workerData

// Memory of WebAssembly has no limit that could be set from outside; beyond this one libheif is out of memory.
const { grow } = WebAssembly.Memory.prototype
WebAssembly.Memory.prototype.grow = function (pages) {
  if (this.buffer.byteLength + pages * 65_536 > mostBytes) throw new RangeError('The memory is used up.')
  return grow.call(this, pages)
}

const libheif = createRequire(import.meta.url)('libheif-js/libheif-wasm/libheif.js')({
  /** @param {WebAssembly.Imports} imports @param {(instance: WebAssembly.Instance) => void} done */
  instantiateWasm(imports, done) {
    const instance = new WebAssembly.Instance(code, imports)
    done(instance)
    return instance.exports
  },
})
// From here on it is the picture that is at fault.
isLoaded[0] = 1

/** What libheif answers with where something is wrong. */
const check = (/** @type {any} */ answer) => {
  const code = answer?.code?.value ?? answer?.code ?? 0
  if (code !== 0) throw new Error(`libheif: ${answer.message}`)
  return answer
}
const context = libheif.heif_context_alloc()
check(libheif.heif_context_read_from_memory(context, bytes))
const handle = check(libheif.heif_js_context_get_primary_image_handle(context))
const channels = libheif.heif_image_handle_has_alpha_channel(handle) ? 4 : 3
const { heif_colorspace: spaces, heif_chroma: chroma } = libheif
const picture = check(
  libheif.heif_js_decode_image2(
    handle,
    spaces.heif_colorspace_RGB,
    channels === 4 ? chroma.heif_chroma_interleaved_RGBA : chroma.heif_chroma_interleaved_RGB,
  ),
)
const [{ width, height, stride, data: plane }] = picture.channels
const line = width * channels
const data = new Uint8Array(line * height)
for (let y = 0; y < height; y += 1) data.set(plane.subarray(y * stride, y * stride + line), y * line)
parentPort?.postMessage({ data, width, height, channels }, [data.buffer])
