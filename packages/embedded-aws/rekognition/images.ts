import * as z from 'zod'
import { AwsError } from '../json.ts'
import { tooLarge } from './errors.ts'

const MAX_BYTES = 5 * 1024 * 1024
export const MAX_S3_BYTES = 15 * 1024 * 1024

/** A parameter that the real service takes: refused by name, since an answer that ignores it would answer another question. */
export const unsupported = (name: string) =>
  z.never({ error: `${name} is not supported by the embedded Rekognition` }).optional()

export const imageSchema = z
  .object({
    Bytes: z.string().min(1).optional(),
    S3Object: z
      .object({
        Bucket: z.string().regex(/^[0-9A-Za-z._-]{3,255}$/),
        Name: z.string().min(1).max(1024),
        Version: unsupported('S3Object.Version'),
      })
      .optional(),
  })
  .refine((image) => (image.Bytes === undefined) !== (image.S3Object === undefined))
export type ImageInput = z.infer<typeof imageSchema>

/** Pixels of an upright picture: 8-bit sRGB, three bytes each, nothing transparent. */
export interface Picture {
  data: Buffer
  width: number
  height: number
}

/** An image that can be looked at. Boxes fit the upright picture of a JPEG; the orientation of a PNG is ignored. */
export interface OpenImage {
  width: number
  height: number
  /** @throws Unreadable where it is damaged */
  pixels: (mostSide: number) => Promise<Picture>
}

/**
 * How images are decoded is for the program that embeds the service.
 *
 * @throws Unreadable
 */
export type OpenImages = (bytes: Uint8Array) => Promise<OpenImage>

/** Reads an object; undefined if the bucket or key is missing. */
export type ReadObject = (bucket: string, key: string) => Promise<Uint8Array | undefined>

/**
 * The bytes that a request means. Too many in the request itself get the documented error here; the real
 * service has also been seen to answer with its framework's ValidationException, which no SDK has a class for.
 */
export async function readImage(
  { Bytes, S3Object }: ImageInput,
  readObject: ReadObject,
): Promise<Uint8Array> {
  if (Bytes !== undefined) {
    const length = Buffer.byteLength(Bytes, 'base64')
    if (length > MAX_BYTES) throw tooLarge()
    const bytes = Buffer.from(Bytes, 'base64')
    // Node skips what is not base64, so junk shows as missing bytes.
    if (bytes.length !== length) throw new AwsError('SerializationException', 'Bytes is not base64')
    return bytes
  }
  const bytes = S3Object && (await readObject(S3Object.Bucket, S3Object.Name))
  if (!bytes) {
    throw new AwsError(
      'InvalidS3ObjectException',
      'Unable to get object metadata from S3. Check object key, region and/or access permissions.',
    )
  }
  if (bytes.length > MAX_S3_BYTES) throw tooLarge()
  return bytes
}
