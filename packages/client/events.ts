import { ApiError, type Client, type ListedImage } from './index.ts'
import { explain } from './upload.ts'

/** Images made by several servers at once may be listed a little out of their order. */
const OVERLAP_MS = 10_000
const UNFINISHED = ['pending', 'processing', 'awaiting_upload'] as const

/**
 * Follows images as they finish, until the signal. A round asks for the unfinished and for the newest; what it knew
 * and is no longer unfinished has come to its end.
 *
 * An image that was finished before, and is tried again and finished between two rounds, passes unseen.
 */
export async function followEvents(
  client: Client,
  everyMs: number,
  onFinished: (image: ListedImage) => void,
  onTrouble: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  /** Unfinished when last seen. */
  const watched = new Set<string>()
  /** When each was finished, of those that the next round may see again: a copy may lag behind, a retry ends once more. */
  const announcedAt = new Map<string, string>()
  let since = ''
  let silent = false

  async function round(first: boolean): Promise<ListedImage[]> {
    const unfinished = new Set<string>()
    for (const status of UNFINISHED)
      for await (const { imageId } of client.list({ status, signal })) unfinished.add(imageId)
    const finished: ListedImage[] = []
    const look = (image: ListedImage) => {
      const { imageId } = image
      const at = completion(image)
      if (at === undefined) return unfinished.add(imageId)
      // What had ended before the first round is no news.
      if (announcedAt.get(imageId) !== at && (!first || unfinished.has(imageId))) finished.push(image)
      announcedAt.set(imageId, at)
      return unfinished.delete(imageId)
    }
    let newest = since
    for await (const image of client.list({ signal, pageSize: first ? 20 : 100 })) {
      if (image.imageId > newest) newest = image.imageId
      if (image.imageId < (first ? before(newest) : since)) break
      look(image)
    }
    for (const imageId of watched) {
      if (unfinished.has(imageId) || finished.some((image) => image.imageId === imageId)) continue
      const image = await client.get(imageId, { signal }).catch(ignoreDeleted)
      if (image !== undefined) look(asListed(image))
    }
    watched.clear()
    for (const imageId of unfinished) watched.add(imageId)
    since = before(newest)
    for (const imageId of announcedAt.keys())
      if (imageId < since && !watched.has(imageId)) announcedAt.delete(imageId)
    return finished.sort((a, b) => String(completion(a)).localeCompare(String(completion(b))))
  }

  for (let first = true; !signal.aborted; first = false) {
    try {
      for (const image of await round(first)) onFinished(image)
      silent = false
    } catch (error) {
      if (signal.aborted) return
      const passes = error instanceof ApiError && ['UNREACHABLE', 'UNAVAILABLE'].includes(error.code)
      if (first || !passes) throw error
      if (!silent) onTrouble(`${explain(error)} Still trying.`)
      silent = true
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(done, everyMs)
      function done() {
        clearTimeout(timer)
        signal.removeEventListener('abort', done)
        resolve()
      }
      signal.addEventListener('abort', done)
    })
  }
}

const completion = (image: ListedImage): string | undefined =>
  image.status === 'completed' || image.status === 'failed' ? image.completedAt : undefined

function ignoreDeleted(error: unknown): undefined {
  if (error instanceof ApiError && error.code === 'IMAGE_NOT_FOUND') return
  throw error
}

type Whole = Awaited<ReturnType<Client['get']>>

/** A whole record as lists show it. */
function asListed(image: Whole): ListedImage {
  if (image.status !== 'completed') return image
  const { rekognitionLabels, rekognitionFaces, ...rest } = image
  return {
    ...rest,
    ...(rekognitionLabels === undefined ? {} : { labels: rekognitionLabels.map(({ Name }) => Name) }),
    ...(rekognitionFaces === undefined ? {} : { faceCount: rekognitionFaces.length }),
  }
}

/** Sorts before every id made in time, by the clock in it (48 bits of milliseconds: RFC 9562, section 5.7). */
function before(imageId: string): string {
  if (imageId === '') return ''
  const ms = Number.parseInt(imageId.replaceAll('-', '').slice(0, 12), 16) - OVERLAP_MS
  const hex = Math.max(0, ms).toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-`
}
