import { deflateSync } from 'node:zlib'
import sharp, { type Sharp } from 'sharp'
import {
  box,
  exif,
  exponentCurve,
  fullBox,
  grid,
  iccProfile,
  insert,
  isoBoxes,
  jpegSegment,
  pngChunk,
  u16,
  u32,
  withChunks,
  withProfile,
  withSegments,
} from './pictures.ts'

/** Some 300 small pictures of every kind, made by script: what a browser draws of them, a thumbnail shows too. */

export interface Case {
  name: string
  type: string
  bytes: Buffer
}

/** Made only where it is asked for. */
type Recipe = [name: string, make: () => Promise<Buffer>]

/** Pixels of each side of a patch. */
export const PATCH = 48
const COLUMNS = 4
const ROWS = 3
const WIDTH = COLUMNS * PATCH
const HEIGHT = ROWS * PATCH
type Patch = readonly [red: number, green: number, blue: number, alpha: number]
/** Row by row; no turn and no mirror brings one of them to the place of another of its colour. */
const PATCHES: readonly Patch[] = [
  ...[
    [200, 30, 30, 255] as const,
    [30, 160, 40, 128] as const,
    [30, 40, 200, 255] as const,
    [230, 220, 60, 0] as const,
  ],
  ...[
    [20, 20, 24, 128] as const,
    [128, 128, 128, 255] as const,
    [250, 250, 250, 128] as const,
    [220, 170, 140, 255] as const,
  ],
  ...[
    [60, 190, 200, 255] as const,
    [180, 40, 160, 0] as const,
    [90, 100, 40, 128] as const,
    [240, 140, 30, 255] as const,
  ],
]
const patchAt = (x: number, y: number): number => Math.floor(y / PATCH) * COLUMNS + Math.floor(x / PATCH)
const brightness = (patch: number): number => {
  const [red, green, blue] = PATCHES[patch] ?? [0, 0, 0]
  return Math.round(0.3 * red + 0.6 * green + 0.1 * blue)
}

const CHANNELS = { rgb: 3, rgba: 4, premultiplied: 4, grey: 1, 'grey as alpha': 4 } as const

/** The patches, of 16 bits where they are `deep`. */
function picture(kind: keyof typeof CHANNELS, deep = false): Sharp {
  const samples: number[] = []
  for (let y = 0; y < HEIGHT; y += 1) {
    for (let x = 0; x < WIDTH; x += 1) {
      const patch = patchAt(x, y)
      const [red, green, blue, alpha] = PATCHES[patch] ?? [0, 0, 0, 0]
      if (kind === 'grey') samples.push(brightness(patch))
      else if (kind === 'grey as alpha') samples.push(0, 0, 0, brightness(patch))
      else if (kind === 'premultiplied') {
        samples.push(...[red, green, blue].map((value) => Math.round((value * alpha) / 255)), alpha)
      } else samples.push(red, green, blue, ...(kind === 'rgba' ? [alpha] : []))
    }
  }
  const raw = { width: WIDTH, height: HEIGHT, channels: CHANNELS[kind] }
  const numbers = deep ? Uint16Array.from(samples, (value) => value * 257) : Uint8Array.from(samples)
  const space = kind === 'grey' ? (['b-w', 'grey16'] as const) : (['srgb', 'rgb16'] as const)
  return sharp(numbers, { raw }).toColourspace(space[deep ? 1 : 0])
}

/** By the columns of XYZ under D50 for red, green and blue. */
const rgbProfile = (columns: readonly (readonly number[])[], exponent: number): Buffer => {
  const [rXYZ, gXYZ, bXYZ] = columns.map((xyz) =>
    Buffer.concat([
      Buffer.from('XYZ '),
      u32(0),
      ...xyz.map((value) => u32(Math.round(value * 0x10000) >>> 0)),
    ]),
  )
  const curve = exponentCurve(exponent)
  if (rXYZ === undefined || gXYZ === undefined || bXYZ === undefined) throw new Error('A column is missing.')
  return iccProfile('RGB ', { rXYZ, gXYZ, bXYZ, rTRC: curve, gTRC: curve, bTRC: curve })
}
const greyProfile = (exponent: number): Buffer => iccProfile('GRAY', { kTRC: exponentCurve(exponent) })
const P3 = [
  [0.515121, 0.241196, -0.001053],
  [0.291977, 0.692245, 0.041885],
  [0.157104, 0.066574, 0.784073],
]
const ADOBE = [
  [0.60974, 0.31111, 0.01947],
  [0.20528, 0.62567, 0.06087],
  [0.14919, 0.06322, 0.74457],
]
const PROPHOTO = [
  [0.79767, 0.28804, 0],
  [0.13519, 0.71187, 0],
  [0.03135, 0.00009, 0.8252],
]
const SRGB = [
  [0.43607, 0.22249, 0.01392],
  [0.38515, 0.71687, 0.09708],
  [0.14307, 0.06061, 0.7141],
]
const PROFILES = {
  'no profile': undefined,
  'Display P3': rgbProfile(P3, 2.2),
  'Adobe RGB': rgbProfile(ADOBE, 2.2),
  ProPhoto: rgbProfile(PROPHOTO, 1.8),
  'linear light': rgbProfile(SRGB, 1),
}
const GREY_PROFILES = { 'no profile': undefined, 'grey 1.8': greyProfile(1.8), 'linear grey': greyProfile(1) }

/** The same numbers with a profile, for an encoder that takes it over. */
async function tagged(from: Sharp, profile: Buffer | undefined): Promise<Sharp> {
  const png = await from.png({ compressionLevel: 1 }).toBuffer()
  return sharp(profile === undefined ? png : withProfile(png, profile)).keepIccProfile()
}

interface PngOptions {
  interlaced?: boolean
  palette?: Buffer
  transparency?: Buffer
}
/** Colour types of PNG, and samples of a pixel. */
const PNG_SAMPLES = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 } as const
/** Where the seven passes begin, and their steps. */
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const

/** The patches as a PNG of any kind that there is. */
function png(
  type: keyof typeof PNG_SAMPLES,
  depth: number,
  { interlaced = false, palette, transparency }: PngOptions = {},
): Buffer {
  const most = 2 ** depth - 1
  const samplesOf = (patch: number): number[] => {
    const [red, green, blue, alpha] = PATCHES[patch] ?? [0, 0, 0, 0]
    if (type === 3) return [patch % Math.min(PATCHES.length, most + 1)]
    const of255 = [
      ...(type === 0 || type === 4 ? [brightness(patch)] : [red, green, blue]),
      ...(type >= 4 ? [alpha] : []),
    ]
    return of255.map((value) => Math.round((value / 255) * most))
  }
  const lines: Buffer[] = []
  for (const [left, top, right, down] of interlaced ? ADAM7 : ([[0, 0, 1, 1]] as const)) {
    for (let y = top; y < HEIGHT; y += down) {
      const bits: string[] = []
      for (let x = left; x < WIDTH; x += right) {
        bits.push(...samplesOf(patchAt(x, y)).map((value) => value.toString(2).padStart(depth, '0')))
      }
      const bytes = bits.join('').match(/.{1,8}/g) ?? []
      lines.push(Buffer.from([0, ...bytes.map((byte) => Number.parseInt(byte.padEnd(8, '0'), 2))]))
    }
  }
  const header = Buffer.concat([
    u32(WIDTH),
    u32(HEIGHT),
    Buffer.from([depth, type, 0, 0, interlaced ? 1 : 0]),
  ])
  return Buffer.concat([
    Buffer.from('89504e470d0a1a0a', 'hex'),
    pngChunk('IHDR', header),
    ...(palette === undefined ? [] : [pngChunk('PLTE', palette)]),
    ...(transparency === undefined ? [] : [pngChunk('tRNS', transparency)]),
    pngChunk('IDAT', deflateSync(Buffer.concat(lines))),
    pngChunk('IEND', Buffer.alloc(0)),
  ])
}
const PALETTE = Buffer.from(PATCHES.flatMap((patch) => patch.slice(0, 3)))
const PALETTE_ALPHA = Buffer.from(PATCHES.map(([, , , alpha]) => alpha))
const paletteOf = (depth: number) => PALETTE.subarray(0, 3 * Math.min(PATCHES.length, 2 ** depth))

const hundredThousandths = (...values: number[]): Buffer =>
  Buffer.concat(values.map((value) => u32(Math.round(value * 100_000))))
const gAMA = (encoding: number): Buffer => pngChunk('gAMA', hundredThousandths(encoding))
const cHRM = (...values: number[]): Buffer => pngChunk('cHRM', hundredThousandths(...values))
const cICP = (primaries: number, transfer: number, matrix = 0, full = 1): Buffer =>
  pngChunk('cICP', Buffer.from([primaries, transfer, matrix, full]))
const sRGB = pngChunk('sRGB', Buffer.from([0]))
const SRGB_POINTS = [0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06]
const P3_POINTS = [0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06]
const PROPHOTO_POINTS = [0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001]

/** The picture and a red frame, as an animation of both, or of the red frame alone (PNG specification, section 11.3.6). */
function animatedPng(still: Buffer, isFrame: boolean): Buffer {
  const control = (number: number): Buffer =>
    pngChunk(
      'fcTL',
      Buffer.concat([u32(number), u32(WIDTH), u32(HEIGHT), u32(0), u32(0), u16(1), u16(10), u16(0)]),
    )
  const line = Buffer.concat([Buffer.from([0]), Buffer.alloc(3 * WIDTH, Buffer.from([200, 30, 30]))])
  const red = deflateSync(Buffer.alloc(line.length * HEIGHT, line))
  const number = isFrame ? 1 : 0
  const frames = pngChunk('acTL', Buffer.concat([u32(number + 1), u32(0)]))
  const end = still.length - pngChunk('IEND', Buffer.alloc(0)).length
  const whole = insert(still, end, control(number), pngChunk('fdAT', Buffer.concat([u32(number + 1), red])))
  return withChunks(whole, frames, ...(isFrame ? [control(0)] : []))
}

/** Of BT.2020 and D65, in 50,000ths, as `mdcv` and `mDCV` say them. */
const SCREEN = Buffer.concat(
  [0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329].map((value) => u16(Math.round(value * 50_000))),
)

function* pngs(): Generator<Recipe> {
  for (const interlaced of [false, true]) {
    const how = interlaced ? ' interlaced' : ''
    for (const depth of [1, 2, 4, 8, 16]) {
      yield [`grey ${depth}-bit${how}`, async () => png(0, depth, { interlaced })]
      const key = u16(Math.round((brightness(5) / 255) * (2 ** depth - 1)))
      yield [`grey ${depth}-bit tRNS${how}`, async () => png(0, depth, { interlaced, transparency: key })]
      if (depth === 16) continue
      const palette = paletteOf(depth)
      yield [`palette ${depth}-bit${how}`, async () => png(3, depth, { interlaced, palette })]
      const transparency = PALETTE_ALPHA.subarray(0, palette.length / 3)
      yield [
        `palette ${depth}-bit tRNS${how}`,
        async () => png(3, depth, { interlaced, palette, transparency }),
      ]
    }
    for (const depth of [8, 16]) {
      const [red, green, blue] = (PATCHES[0] ?? []).map((value) => (depth === 16 ? value * 257 : value))
      const key = Buffer.concat([u16(red ?? 0), u16(green ?? 0), u16(blue ?? 0)])
      yield [`RGB ${depth}-bit${how}`, async () => png(2, depth, { interlaced })]
      yield [`RGB ${depth}-bit tRNS${how}`, async () => png(2, depth, { interlaced, transparency: key })]
      yield [`RGBA ${depth}-bit${how}`, async () => png(6, depth, { interlaced })]
      yield [`grey and alpha ${depth}-bit${how}`, async () => png(4, depth, { interlaced })]
    }
  }
  const kinds: [string, Buffer][] = [
    ['RGB 8-bit', png(2, 8)],
    ['RGB 16-bit', png(2, 16)],
    ['RGBA 8-bit', png(6, 8)],
    ['RGBA 16-bit', png(6, 16)],
    ['palette', png(3, 4, { palette: paletteOf(4), transparency: PALETTE_ALPHA })],
    ['grey 8-bit', png(0, 8)],
    ['grey 16-bit', png(0, 16)],
    ['grey and alpha 8-bit', png(4, 8)],
    ['grey and alpha 16-bit', png(4, 16)],
  ]
  const said: [string, Buffer[]][] = [
    ['Display P3 by cICP', [cICP(12, 13)]],
    ['BT.2020 by cICP', [cICP(9, 14)]],
    ['linear BT.709 by cICP', [cICP(1, 8)]],
    ['PQ by cICP', [cICP(9, 16)]],
    ['HLG by cICP', [cICP(9, 18)]],
    ['linear by gAMA', [gAMA(1)]],
    ['Display P3 by cHRM and gAMA', [gAMA(0.45455), cHRM(...P3_POINTS)]],
  ]
  for (const [kind, bytes] of kinds) {
    for (const [how, chunks] of said) yield [`${kind}, ${how}`, async () => withChunks(bytes, ...chunks)]
    for (const [how, profile] of Object.entries(kind.startsWith('grey') ? GREY_PROFILES : PROFILES)) {
      if (profile !== undefined) yield [`${kind}, ${how}`, async () => withProfile(bytes, profile)]
    }
  }
  const plain = png(2, 8)
  for (const [primaries, transfer] of [
    [1, 1],
    [1, 4],
    [1, 5],
    [1, 7],
    [1, 16],
    [1, 18],
    [4, 4],
    [5, 6],
    [6, 6],
    [8, 1],
    [10, 8],
    [11, 13],
    [11, 17],
    [12, 16],
    [22, 13],
    [2, 2],
    [2, 13],
    [12, 2],
    [1, 12],
  ] as const) {
    yield [`cICP ${primaries} ${transfer}`, async () => withChunks(plain, cICP(primaries, transfer))]
  }
  const light = pngChunk('cLLI', Buffer.concat([u32(500 * 10_000), u32(100 * 10_000)]))
  const screen = pngChunk('mDCV', Buffer.concat([SCREEN, u32(4_000 * 10_000), u32(1)]))
  yield ['PQ, cLLI of 500', async () => withChunks(plain, cICP(9, 16), light)]
  yield ['PQ, mDCV of 4000', async () => withChunks(plain, cICP(9, 16), screen)]
  yield ['HLG, cLLI before mDCV', async () => withChunks(plain, cICP(9, 18), screen, light)]
  yield ['grey PQ, cLLI of 500', async () => withChunks(png(0, 16), cICP(9, 16), light)]
  yield ['cICP of limited range', async () => withChunks(plain, cICP(12, 13, 0, 0))]
  yield ['cICP before iCCP', async () => withChunks(withProfile(plain, rgbProfile(P3, 2.2)), cICP(9, 13))]
  yield [
    'cICP for nothing before iCCP',
    async () => withChunks(withProfile(plain, rgbProfile(P3, 2.2)), cICP(2, 2)),
  ]
  yield ['cICP before sRGB', async () => withChunks(plain, cICP(12, 13), sRGB)]
  yield ['sRGB before gAMA', async () => withChunks(plain, gAMA(1), sRGB)]
  yield ['gAMA of sRGB', async () => withChunks(plain, gAMA(0.45455))]
  yield ['sRGB by cHRM and gAMA', async () => withChunks(plain, gAMA(0.45455), cHRM(...SRGB_POINTS))]
  yield ['gAMA of 1.8', async () => withChunks(plain, gAMA(0.55556))]
  yield ['gAMA of 2.8', async () => withChunks(plain, gAMA(0.35))]
  yield ['ProPhoto by cHRM and gAMA', async () => withChunks(plain, gAMA(0.55556), cHRM(...PROPHOTO_POINTS))]
  yield ['cHRM of nothing', async () => withChunks(plain, gAMA(1), cHRM(0, 0, 0, 0, 0, 0, 0, 0))]
  yield ['cHRM alone', async () => withChunks(plain, cHRM(...P3_POINTS))]
  yield ['animated', async () => animatedPng(plain, true)]
  yield ['animated, without its still picture', async () => animatedPng(plain, false)]
  for (const orientation of ORIENTATIONS) {
    yield [
      `orientation ${orientation}`,
      async () => withChunks(plain, pngChunk('eXIf', exif(0x112, 3, 1, orientation))),
    ]
  }
  yield [
    'RGBA 16-bit, orientation 6',
    async () => withChunks(png(6, 16), pngChunk('eXIf', exif(0x112, 3, 1, 6))),
  ]
  yield [
    'RGB 16-bit interlaced, Display P3, orientation 5',
    async () =>
      withChunks(
        withProfile(png(2, 16, { interlaced: true }), rgbProfile(P3, 2.2)),
        pngChunk('eXIf', exif(0x112, 3, 1, 5)),
      ),
  ]
}
const ORIENTATIONS = [1, 2, 3, 4, 5, 6, 7, 8]

async function* jpegs(): AsyncGenerator<Recipe> {
  const encodings = {
    '4:2:0': { chromaSubsampling: '4:2:0' },
    '4:4:4': { chromaSubsampling: '4:4:4' },
    progressive: { progressive: true },
  }
  for (const [how, profile] of Object.entries(PROFILES)) {
    for (const [encoding, options] of Object.entries(encodings)) {
      yield [
        `${encoding}, ${how}`,
        async () => (await tagged(picture('rgb'), profile)).jpeg({ quality: 95, ...options }).toBuffer(),
      ]
    }
  }
  for (const [how, profile] of Object.entries(GREY_PROFILES)) {
    yield [
      `grey, ${how}`,
      async () =>
        (await tagged(picture('grey'), profile)).toColourspace('b-w').jpeg({ quality: 95 }).toBuffer(),
    ]
  }
  const grey = await picture('grey').toColourspace('b-w').jpeg({ quality: 95 }).toBuffer()
  for (const how of ['ProPhoto', 'linear light'] as const) {
    const profile = Buffer.concat([Buffer.from('ICC_PROFILE\0\x01\x01', 'latin1'), PROFILES[how]])
    yield [`grey, ${how}`, async () => withSegments(grey, jpegSegment(0xe2, profile))]
  }
  for (const orientation of ORIENTATIONS) {
    const turned = picture('rgb').withMetadata({ orientation })
    yield [`orientation ${orientation}`, async () => turned.clone().jpeg({ quality: 95 }).toBuffer()]
    yield [
      `progressive, orientation ${orientation}`,
      async () => turned.clone().jpeg({ quality: 95, progressive: true }).toBuffer(),
    ]
  }
  yield [
    'grey, orientation 6',
    async () =>
      picture('grey').withMetadata({ orientation: 6 }).toColourspace('b-w').jpeg({ quality: 95 }).toBuffer(),
  ]
  yield [
    'Display P3, orientation 7',
    async () =>
      (await tagged(picture('rgb'), PROFILES['Display P3']))
        .withExif({ IFD0: { Orientation: '7' } })
        .jpeg({ quality: 95 })
        .toBuffer(),
  ]
  const cmyk = await picture('rgb')
    .toColourspace('cmyk')
    .withIccProfile('cmyk')
    .jpeg({ quality: 95, chromaSubsampling: '4:4:4' })
    .toBuffer()
  yield ['CMYK with a profile', async () => cmyk]
  yield ['CMYK', async () => picture('rgb').toColourspace('cmyk').jpeg({ quality: 95 }).toBuffer()]
  const adobe = (transform: number) =>
    jpegSegment(0xee, Buffer.concat([Buffer.from('Adobe'), u16(100), u32(0), Buffer.from([transform])]))
  const plain = await picture('rgb').jpeg({ quality: 95, chromaSubsampling: '4:4:4' }).toBuffer()
  yield ['RGB, as Adobe says it', async () => insert(plain, 2, adobe(0))]
  yield ['YCC, as Adobe says it', async () => insert(plain, 2, adobe(1))]
}

async function* webps(): AsyncGenerator<Recipe> {
  const encodings = { lossy: { quality: 95 }, lossless: { lossless: true } }
  for (const [encoding, options] of Object.entries(encodings)) {
    for (const kind of ['rgb', 'rgba'] as const) {
      for (const [how, profile] of Object.entries(PROFILES)) {
        const name = `${encoding}${kind === 'rgba' ? ' with alpha' : ''}, ${how}`
        yield [
          name,
          async () => (await tagged(picture(kind), profile)).webp({ effort: 0, ...options }).toBuffer(),
        ]
      }
    }
  }
  for (const orientation of ORIENTATIONS) {
    yield [
      `orientation ${orientation}`,
      async () => picture('rgb').withMetadata({ orientation }).webp({ effort: 0, lossless: true }).toBuffer(),
    ]
  }
  const chunk = (type: string, ...parts: Buffer[]): Buffer => {
    const data = Buffer.concat(parts)
    const size = Buffer.alloc(4)
    size.writeUInt32LE(data.length)
    return Buffer.concat([Buffer.from(type), size, data, Buffer.alloc(data.length % 2)])
  }
  const u24 = (value: number): Buffer => Buffer.from([value & 255, (value >> 8) & 255, value >> 16])
  const frame = async (part: Sharp, left: number, top: number): Promise<Buffer> => {
    const { data, info } = await part
      .webp({ effort: 0, lossless: true })
      .toBuffer({ resolveWithObject: true })
    const place = [left / 2, top / 2, info.width - 1, info.height - 1, 100].map(u24)
    return chunk('ANMF', ...place, Buffer.from([0]), data.subarray(12))
  }
  const animation = (...frames: Buffer[]): Buffer =>
    chunk(
      'RIFF',
      Buffer.from('WEBP'),
      chunk('VP8X', Buffer.from([0x12, 0, 0, 0]), u24(WIDTH - 1), u24(HEIGHT - 1)),
      // Red, of which decoders need not take note.
      chunk('ANIM', Buffer.from([0, 0, 255, 255, 0, 0])),
      ...frames,
    )
  const part = { left: PATCH, top: PATCH, width: 2 * PATCH, height: PATCH }
  yield [
    'animated',
    async () => animation(await frame(picture('rgb'), 0, 0), await frame(picture('rgb').negate(), 0, 0)),
  ]
  yield [
    'animated with alpha',
    async () => animation(await frame(picture('rgba'), 0, 0), await frame(picture('rgb').negate(), 0, 0)),
  ]
  yield [
    'animated, small first frame',
    async () =>
      animation(await frame(picture('rgb').extract(part), PATCH, PATCH), await frame(picture('rgb'), 0, 0)),
  ]
  yield [
    'animated, small first frame with alpha',
    async () =>
      animation(await frame(picture('rgba').extract(part), PATCH, 0), await frame(picture('rgb'), 0, 0)),
  ]
}

async function* gifs(): AsyncGenerator<Recipe> {
  const still = await picture('rgb').gif().toBuffer()
  yield ['still', async () => still]
  yield ['interlaced', async () => picture('rgb').gif({ progressive: true }).toBuffer()]
  const clear = await picture('rgba').gif().toBuffer()
  yield ['transparent', async () => clear]
  const frames = [await picture('rgb').png().toBuffer(), await picture('rgb').negate().png().toBuffer()]
  yield [
    'animated',
    async () =>
      sharp(frames, { join: { animated: true } })
        .gif()
        .toBuffer(),
  ]
  const clearFrames = [await picture('rgba').png().toBuffer(), await picture('rgb').negate().png().toBuffer()]
  yield [
    'animated, transparent',
    async () =>
      sharp(clearFrames, { join: { animated: true } })
        .gif()
        .toBuffer(),
  ]
  for (const [kind, bytes] of [
    ['opaque', still],
    ['transparent', clear],
  ] as const) {
    const small = Buffer.from(bytes)
    small.writeUInt16LE(WIDTH + PATCH, 6)
    small.writeUInt16LE(HEIGHT + PATCH, 8)
    yield [`${kind} frame that is smaller than its screen`, async () => small]
    const moved = Buffer.from(small)
    // Where its descriptor is.
    const frame = moved.indexOf(Buffer.concat([Buffer.from([0x2c, 0, 0, 0, 0]), still.subarray(6, 10)]))
    moved.writeUInt16LE(PATCH, frame + 1)
    moved.writeUInt16LE(PATCH, frame + 3)
    yield [`${kind} frame away from the corner`, async () => moved]
  }
}

/** `nclx`, of version 0. */
const nclx = (primaries: number, transfer: number, matrix = 6, isFull = true): Buffer =>
  box(
    'colr',
    Buffer.from('nclx'),
    u16(primaries),
    u16(transfer),
    u16(matrix),
    Buffer.from([isFull ? 0x80 : 0]),
  )
const irot = (quarters: number): Buffer => box('irot', Buffer.from([quarters]))
const imir = (axis: number): Buffer => box('imir', Buffer.from([axis]))
/** A part, by its size and how far its middle is from that of the whole. */
const clap = (width: number, height: number, right: number, down: number): Buffer =>
  box('clap', ...[width, 1, height, 1, right, 1, down, 1].map((value) => u32(value >>> 0)))

const isTransformation = (property: Buffer): boolean =>
  ['irot', 'imir', 'clap'].includes(property.toString('latin1', 4, 8))

/** An AVIF of libheif's with more properties, of its only picture and, where it is said so, of its transparency. */
function withProperties(file: Buffer, properties: Buffer[], alphaToo = false): Buffer {
  const top = isoBoxes(file)
  const [ftyp, meta] = top
  if (ftyp === undefined || meta === undefined) throw new Error('This is no AVIF of libheif.')
  const children = isoBoxes(meta.bytes, 12)
  const iprp = isoBoxes(children.find(({ type }) => type === 'iprp')?.bytes ?? Buffer.alloc(0), 8)
  const [ipco, ipma] = iprp
  if (ipco === undefined || ipma === undefined) throw new Error('This is no AVIF of libheif.')
  const first = isoBoxes(ipco.bytes, 8).length + 1
  const items: Buffer[] = []
  for (let at = 16; at < ipma.bytes.length; ) {
    const end = at + 3 + (ipma.bytes[at + 2] ?? 0)
    const isConcerned = items.length === 0 || alphaToo
    // Transformations are essential, which the highest bit says.
    const more = properties.map(
      (property, index) => (first + index) | (isTransformation(property) ? 0x80 : 0),
    )
    items.push(
      Buffer.concat([
        ipma.bytes.subarray(at, at + 2),
        Buffer.from([end - at - 3 + (isConcerned ? more.length : 0)]),
        ipma.bytes.subarray(at + 3, end),
        Buffer.from(more),
      ]),
    )
    at = end
  }
  const described = (moved: number): Buffer =>
    fullBox(
      'meta',
      0,
      ...children.map(({ type, bytes }) => {
        if (type === 'iprp')
          return box(
            'iprp',
            box('ipco', ipco.bytes.subarray(8), ...properties),
            fullBox('ipma', 0, u32(items.length), ...items),
          )
        if (type !== 'iloc') return bytes
        const places = Buffer.from(bytes)
        // Items of 18 bytes, of which the last eight are an offset and a size.
        for (let at = 16 + 10; at < places.length; at += 18)
          places.writeUInt32BE(places.readUInt32BE(at) + moved, at)
        return places
      }),
    )
  const moved = described(0).length - meta.bytes.length
  return Buffer.concat([ftyp.bytes, described(moved), ...top.slice(2).map(({ bytes }) => bytes)])
}

/** An AVIF of libheif's whose data say otherwise how long they are: that they go on to the end, or in 64 bits. */
function withDataSaid(how: 'open' | 'long', file: Buffer): Buffer {
  const at = file.indexOf('mdat') - 4
  const said = Buffer.from(file)
  said.writeUInt32BE(how === 'open' ? 0 : 1, at)
  if (how === 'open') return said
  return withDataMoved(insert(said, at + 8, u32(0), u32(file.length - at + 8)), 8)
}

/** The same with other places of its items, of 18 bytes each, of which the last eight are an offset and a size. */
function withDataMoved(file: Buffer, by: number): Buffer {
  const places = file.indexOf('iloc') + 8
  const end = places + 4 + 18 * file.readUInt16BE(places + 2)
  for (let at = places + 4 + 10; at < end; at += 18) file.writeUInt32BE(file.readUInt32BE(at) + by, at)
  return file
}

/** An AVIF that is grey alone: of the transparency of one of libheif's, which is coded so, is made the picture. */
function greyOf(file: Buffer, ...properties: Buffer[]): Buffer {
  const [ftyp, meta, mdat] = isoBoxes(file)
  const described = isoBoxes(meta?.bytes ?? file, 12)
  const iloc = described.find(({ type }) => type === 'iloc')?.bytes ?? file
  const iprp = described.find(({ type }) => type === 'iprp')?.bytes ?? file
  const listed = isoBoxes(isoBoxes(iprp, 8)[0]?.bytes ?? file, 8)
  if (ftyp === undefined || mdat === undefined) throw new Error('This is no AVIF of libheif.')
  // The last is the second item's, and ends with the base of its offset, a count, its offset from there, and its size.
  const [base, offset, size] = [14, 8, 4].map((back) => iloc.readUInt32BE(iloc.length - back))
  const data = file.subarray((base ?? 0) + (offset ?? 0)).subarray(0, size)
  // av1C, ispe, and pixi; the first and the third of them are those of the colours, too.
  const all = [listed[3], listed[1], listed[4]].map((property) => property?.bytes ?? file).concat(properties)
  const associations = all.map((_, index) => (index + 1) | (index === 0 ? 0x80 : 0))
  const head = (at: number): Buffer =>
    fullBox(
      'meta',
      0,
      fullBox('hdlr', 0, u32(0), Buffer.from('pict'), Buffer.alloc(13)),
      fullBox('pitm', 0, u16(1)),
      fullBox('iloc', 0, Buffer.from([0x44, 0]), u16(1), u16(1), u16(0), u16(1), u32(at), u32(data.length)),
      fullBox('iinf', 0, u16(1), fullBox('infe', 2, u16(1), u16(0), Buffer.from('av01\0'))),
      box(
        'iprp',
        box('ipco', ...all),
        fullBox('ipma', 0, u32(1), u16(1), Buffer.from([all.length, ...associations])),
      ),
    )
  return Buffer.concat([ftyp.bytes, head(ftyp.bytes.length + head(0).length + 8), box('mdat', data)])
}

/** An AVIF of libheif's whose AV1 data say otherwise what colours they are: of 4:4:4, where they say 1, 13, 6 and full. */
function withSequence(file: Buffer, primaries: number, transfer: number, matrix = 6, isFull = true): Buffer {
  const changed = Buffer.from(file)
  // After the head of the box, an empty unit, and the kind and size of the header, from its 41st bit.
  const at = changed.indexOf('mdat') + 4 + 4 + 5
  if (changed.readUInt32BE(at) !== 0x404341a4) throw new Error('The header is not what libheif writes.')
  changed.writeUInt32BE(
    0x40000004 + primaries * 2 ** 22 + transfer * 2 ** 14 + matrix * 2 ** 6 + (isFull ? 2 ** 5 : 0),
    at,
  )
  return changed
}

/** An AVIF of libheif's whose colours are said to be stored as its transparency lets them through. */
function withPremultiplied(file: Buffer, ...properties: Buffer[]): Buffer {
  const said = withProperties(file, properties)
  // In place of what says that the second item belongs to the first: the same, and that the first belongs to the second.
  const at = said.indexOf('iref') - 4
  const auxl = said.subarray(at + 12, at + 26)
  const more = box('prem', u16(1), u16(1), u16(2))
  const whole = insert(said, at + 12 + auxl.length, more)
  for (const begin of [at, said.indexOf('meta') - 4]) {
    whole.writeUInt32BE(whole.readUInt32BE(begin) + more.length, begin)
  }
  return withDataMoved(whole, more.length)
}

async function* avifs(): AsyncGenerator<Recipe> {
  const avif = async (from: Sharp, bitdepth: 8 | 10 | 12, chromaSubsampling = '4:4:4') =>
    from.avif({ effort: 0, quality: 80, bitdepth, chromaSubsampling }).toBuffer()
  for (const depth of [8, 10, 12] as const) {
    for (const kind of ['rgb', 'rgba'] as const) {
      const alpha = kind === 'rgba' ? ' with alpha' : ''
      for (const [how, profile] of Object.entries(PROFILES)) {
        yield [
          `${depth}-bit${alpha}, ${how}`,
          async () => avif(await tagged(picture(kind, depth > 8), profile), depth),
        ]
      }
      yield [
        `${depth}-bit${alpha} 4:2:0, Adobe RGB`,
        async () => avif(await tagged(picture(kind, depth > 8), PROFILES['Adobe RGB']), depth, '4:2:0'),
      ]
      const plain = await avif(picture(kind, depth > 8), depth)
      for (const [primaries, transfer] of [
        [12, 13],
        [9, 1],
        [9, 16],
        [9, 18],
      ] as const) {
        yield [
          `${depth}-bit${alpha}, nclx ${primaries} ${transfer}`,
          async () => withProperties(plain, [nclx(primaries, transfer)]),
        ]
      }
      yield [
        `${depth}-bit${alpha}, turned by irot and imir`,
        async () => withProperties(plain, [irot(1), imir(0)], true),
      ]
    }
    const through = await avif(picture('premultiplied', depth > 8), depth)
    yield [`${depth}-bit premultiplied`, async () => withPremultiplied(through)]
    yield [`${depth}-bit premultiplied, nclx 12 13`, async () => withPremultiplied(through, nclx(12, 13))]
    yield [`${depth}-bit premultiplied, nclx 9 16`, async () => withPremultiplied(through, nclx(9, 16))]
    const grey = await avif(picture('grey as alpha', depth > 8), depth)
    for (const [how, profile] of Object.entries(GREY_PROFILES)) {
      const said = profile === undefined ? [] : [box('colr', Buffer.from('prof'), profile)]
      yield [`${depth}-bit grey, ${how}`, async () => greyOf(grey, nclx(1, 13), ...said)]
    }
    yield [`${depth}-bit grey, limited range`, async () => greyOf(grey, nclx(1, 13, 6, false))]
    yield [`${depth}-bit grey, nclx 9 16`, async () => greyOf(grey, nclx(9, 16))]
  }
  const plain = await avif(picture('rgb'), 8)
  const clear = await avif(picture('rgba'), 8)
  for (const [primaries, transfer] of [
    [1, 13],
    [1, 1],
    [1, 4],
    [1, 5],
    [1, 7],
    [1, 8],
    [1, 16],
    [1, 18],
    [4, 4],
    [5, 6],
    [6, 6],
    [8, 1],
    [9, 14],
    [9, 15],
    [10, 8],
    [11, 13],
    [11, 17],
    [12, 1],
    [12, 16],
    [22, 13],
    [2, 2],
    [2, 13],
    [12, 2],
    [1, 12],
    [1, 11],
  ] as const) {
    yield [`nclx ${primaries} ${transfer}`, async () => withProperties(plain, [nclx(primaries, transfer)])]
  }
  for (const matrix of [0, 1, 2, 5, 6, 7, 9]) {
    for (const isFull of [true, false])
      yield [
        `matrix ${matrix}, ${isFull ? 'full' : 'limited'} range`,
        async () => withProperties(plain, [nclx(1, 13, matrix, isFull)]),
      ]
  }
  for (const turns of [0, 1, 2, 3]) {
    for (const mirror of [[], [imir(0)], [imir(1)]]) {
      const name = `irot ${turns}${mirror.length > 0 ? `, imir ${mirror[0]?.at(-1)}` : ''}`
      yield [name, async () => withProperties(plain, [irot(turns), ...mirror])]
      yield [
        `${name}, of the colours of a transparent one`,
        async () => withProperties(clear, [irot(turns), ...mirror]),
      ]
    }
  }
  yield [
    'clap from the corner',
    async () => withProperties(plain, [clap(3 * PATCH, 3 * PATCH, -PATCH / 2, 0)]),
  ]
  yield ['clap', async () => withProperties(plain, [clap(3 * PATCH, 2 * PATCH, PATCH / 2, -PATCH / 2)])]
  yield [
    'clap and irot, transparent',
    async () => withProperties(clear, [clap(2 * PATCH, 3 * PATCH, PATCH, 0), irot(3)], true),
  ]
  yield [
    'clap of the colours of a transparent one',
    async () => withProperties(clear, [clap(3 * PATCH, 3 * PATCH, PATCH / 2, 0)]),
  ]
  yield ['nclx 12 13 of a turned transparent one', async () => withProperties(clear, [nclx(12, 13), irot(1)])]
  yield [
    'a profile and nclx 9 16',
    async () =>
      withProperties(await avif(await tagged(picture('rgb'), PROFILES['Display P3']), 8), [nclx(9, 16)]),
  ]
  for (const orientation of [3, 6])
    yield [
      `EXIF orientation ${orientation}`,
      async () => avif(picture('rgb').withMetadata({ orientation }), 8),
    ]
  for (const isFull of [true, false]) {
    const name = `nclx of nothing but a ${isFull ? 'full' : 'limited'} range`
    yield [name, async () => withProperties(plain, [nclx(2, 2, 2, isFull)])]
  }
  const ranged = withSequence(plain, 2, 2, 2, false)
  yield ['full range by nclx of nothing else', async () => withProperties(ranged, [nclx(2, 2, 2)])]
  for (const transfer of [16, 18]) {
    const hdr = nclx(9, transfer)
    yield [
      `nclx 9 ${transfer}, clli of 500`,
      async () => withProperties(plain, [hdr, box('clli', u16(500), u16(100))]),
    ]
    yield [
      `nclx 9 ${transfer}, clli of 200`,
      async () => withProperties(plain, [hdr, box('clli', u16(200), u16(100))]),
    ]
    yield [
      `nclx 9 ${transfer}, mdcv of 4000`,
      async () => withProperties(plain, [hdr, box('mdcv', SCREEN, u32(4_000 * 10_000), u32(1))]),
    ]
  }
  for (const how of ['open', 'long'] as const) {
    yield [`${how} data, nclx 12 13`, async () => withDataSaid(how, withProperties(plain, [nclx(12, 13)]))]
    yield [
      `${how} data, transparency to be turned`,
      async () => withDataSaid(how, withProperties(clear, [irot(1)])),
    ]
  }
  yield ['AV1 data that say Display P3', async () => withSequence(plain, 12, 13)]
  yield [
    'AV1 data that say PQ, and nclx of sRGB',
    async () => withProperties(withSequence(plain, 9, 16), [nclx(1, 13)]),
  ]
  yield ['lossless', async () => picture('rgb').avif({ effort: 0, lossless: true }).toBuffer()]
  yield ['grid', async () => grid(96, 2, 2, 192, 4)]
}

/**
 * The cases, by name, in the same order each time.
 *
 * @param every of so many only one
 */
export async function pictureCases(every = 1): Promise<Case[]> {
  const cases: Case[] = []
  let count = 0
  const formats = { jpeg: jpegs(), png: pngs(), webp: webps(), gif: gifs(), avif: avifs() }
  for (const [format, recipes] of Object.entries(formats)) {
    for await (const [name, make] of recipes) {
      count += 1
      if (count % every === 0)
        cases.push({ name: `${format}: ${name}`, type: `image/${format}`, bytes: await make() })
    }
  }
  return cases
}
