import { setTimeout } from 'node:timers/promises'
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
  const following = new Following(client, signal)
  let silent = false
  for (let first = true; !signal.aborted; first = false) {
    try {
      for (const image of await following.round(first)) onFinished(image)
      silent = false
    } catch (error) {
      if (signal.aborted) return
      const passes = error instanceof ApiError && ['UNREACHABLE', 'UNAVAILABLE'].includes(error.code)
      if (first || !passes) throw error
      if (!silent) onTrouble(`${explain(error)} Still trying.`)
      silent = true
    }
    // It rejects at the signal, which the loop sees.
    await setTimeout(everyMs, undefined, { signal }).catch(() => {})
  }
}

/** What is known of the images between two rounds. A round that breaks off changes nothing here, so the next one sees the same again. */
class Following {
  readonly #client: Client
  readonly #signal: AbortSignal
  /** Ids of images that were unfinished in the round before. */
  #watched = new Set<string>()
  /** When each was finished, of those that the next round may see again: a copy may lag behind, a retry ends once more. */
  readonly #announcedAt = new Map<string, string>()
  /** The highest id of all rounds. Its image may be deleted by now. */
  #newest = ''

  constructor(client: Client, signal: AbortSignal) {
    this.#client = client
    this.#signal = signal
  }

  /** @returns the images that have finished since the round before, in the order of their ends */
  async round(first: boolean): Promise<ListedImage[]> {
    const unfinished = await this.#unfinished()
    const finished: ListedImage[] = []
    const ends = new Map<string, string>()
    const look = (image: ListedImage): void => {
      const { imageId } = image
      const at = completion(image)
      if (at === undefined) {
        unfinished.add(imageId)
        return
      }
      // What had ended before the first round is no news.
      const known = ends.get(imageId) ?? this.#announcedAt.get(imageId)
      if (known !== at && (!first || unfinished.has(imageId))) finished.push(image)
      ends.set(imageId, at)
      unfinished.delete(imageId)
    }
    const newest = await this.#lookAtNewest(first, look)
    for (const imageId of this.#watched) {
      if (unfinished.has(imageId) || finished.some((image) => image.imageId === imageId)) continue
      const image = await this.#client.get(imageId, { signal: this.#signal }).catch(ignoreDeleted)
      if (image !== undefined) look(asListed(image))
    }
    this.#watched = unfinished
    this.#newest = newest
    for (const [imageId, at] of ends) this.#announcedAt.set(imageId, at)
    this.#forgetOld()
    return finished.sort((a, b) => String(completion(a)).localeCompare(String(completion(b))))
  }

  async #unfinished(): Promise<Set<string>> {
    const ids = new Set<string>()
    for (const status of UNFINISHED)
      for await (const { imageId } of this.#client.list({ status, signal: this.#signal })) ids.add(imageId)
    return ids
  }

  /** @returns the highest id of all rounds */
  async #lookAtNewest(first: boolean, look: (image: ListedImage) => void): Promise<string> {
    let newest = this.#newest
    for await (const image of this.#client.list({ signal: this.#signal, pageSize: first ? 20 : 100 })) {
      if (image.imageId > newest) newest = image.imageId
      if (image.imageId < before(first ? newest : this.#newest)) break
      look(image)
    }
    return newest
  }

  #forgetOld(): void {
    const since = before(this.#newest)
    for (const imageId of this.#announcedAt.keys())
      if (imageId < since && !this.#watched.has(imageId)) this.#announcedAt.delete(imageId)
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
