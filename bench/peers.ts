import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onPath } from '../build/terraform.ts'
import { median, round, spread } from './figures.ts'
import { photoOf } from './preview.ts'

/**
 * The same thumbnail by other programs, where this machine has them: time of the processor for one photo of 12 megapixels,
 * over that of sharp. Each makes all of them in one process, and the figure is what 21 cost more than one alone: what it
 * takes to begin is not in it.
 */
const ROUNDS = 5
const MORE = 20

/** Programs in terms of the shell's: `$1` is the photo, `$2` the folder of results, `$3` how many. */
const PEERS: { name: string; needs: string; also?: string[]; run: string[] }[] = [
  {
    name: 'sharp alone',
    needs: process.execPath,
    run: [
      process.execPath,
      '--input-type=module',
      '--eval',
      `const { default: sharp } = await import(${JSON.stringify(import.meta.resolve('sharp'))})
import { readFileSync } from 'node:fs'
const [file, , times] = process.argv.slice(1)
for (let left = Number(times); left > 0; left -= 1)
  await sharp(readFileSync(file)).autoOrient().resize(128, 128).jpeg().toBuffer()`,
    ],
  },
  {
    name: 'vipsthumbnail',
    needs: 'vipsthumbnail',
    run: [
      'sh',
      '-c',
      // Of copies, as it would take the same file from its cache.
      'for n in $(seq $3); do cp "$1" "$2/$n.jpg"; set -- "$@" "$2/$n.jpg"; done; shift 3; exec vipsthumbnail --size 128x128 --smartcrop centre -o %s-small.jpg "$@"',
      'sh',
    ],
  },
  {
    name: 'GraphicsMagick',
    needs: 'gm',
    run: [
      'sh',
      '-c',
      'for n in $(seq $3); do echo "convert -size 256x256 $1 -auto-orient -resize 128x128^ -gravity center -extent 128x128 $2/gm.jpg"; done | gm batch -',
      'sh',
    ],
  },
  {
    name: 'Pillow with draft',
    needs: 'python3',
    also: ['-c', 'import PIL'],
    run: [
      'python3',
      '-c',
      `import sys
from PIL import Image, ImageOps
for n in range(int(sys.argv[3])):
    with Image.open(sys.argv[1]) as image:
        image.draft('RGB', (256, 256))
        ImageOps.fit(ImageOps.exif_transpose(image), (128, 128)).save(sys.argv[2] + '/pillow.jpg')`,
    ],
  },
]

export async function peers(
  rounds = ROUNDS,
  size = { width: 4_000, height: 3_000 },
  more = MORE,
): Promise<object[]> {
  const folder = mkdtempSync(join(tmpdir(), 'peers-'))
  try {
    const photo = join(folder, 'photo.jpg')
    writeFileSync(photo, await photoOf(size.width, size.height))
    const here = PEERS.filter(({ needs, also }) => {
      if (needs !== process.execPath && onPath(needs) === undefined) return false
      return also === undefined || spawnSync(needs, also).status === 0
    })
    const times = new Map(here.map(({ name }) => [name, [] as number[]]))
    for (let round = 0; round < rounds; round += 1) {
      for (const { name, run } of here) {
        const cost = (images: number): number => processorMs(run, [photo, folder, String(images)], name)
        times.get(name)?.push((cost(1 + more) - cost(1)) / more)
      }
    }
    const alone = median(times.get('sharp alone') ?? [])
    return PEERS.map(({ name }) => {
      const own = times.get(name)
      if (own === undefined) return { what: name, 'cpu ms': 'not installed here' }
      return {
        what: name,
        'cpu ms': round(median(own)),
        'of sharp alone': round(median(own) / alone),
        'cpu ms of the middle half': spread(own),
      }
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Of the processor, of a program and of what it starts. */
function processorMs([program = '', ...args]: string[], more: string[], name: string): number {
  const timed = spawnSync(
    'bash',
    ['-c', 'TIMEFORMAT="%U %S"; time "$@" > /dev/null', 'bash', program, ...args, ...more],
    {
      encoding: 'utf8',
      // One decimal point, in all languages.
      env: { ...process.env, LC_ALL: 'C', NODE_NO_WARNINGS: '1' },
    },
  )
  const [user, system] = (timed.stderr.trim().split('\n').at(-1) ?? '').split(' ').map(Number)
  if (timed.status !== 0 || user === undefined || system === undefined || Number.isNaN(user + system)) {
    throw new Error(`${name} failed: ${timed.stderr}`)
  }
  return (user + system) * 1_000
}
