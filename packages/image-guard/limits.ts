/** Pixels that all pictures within one AVIF may have together: twice the largest AVIF, for a gain map or transparency. */
export const MAX_AVIF_PIXELS = 50_000_000
/** The same within one HEIC: twice the largest. One core decodes so many in about 10 seconds. */
export const MAX_HEIC_PIXELS = 100_000_000
/** Scans of a JPEG, and pixels in all of them together. Encoders write about ten, and at most 26 fit the largest picture. */
export const MAX_SCANS = 100
export const MAX_SCANNED_PIXELS = 2_000_000_000
/** Profiles and XMP come in segments of 64 KB, so that even 50 MB of them are 800. */
export const MAX_SEGMENTS = 10_000
/** Seven minutes at 24 frames a second. libvips takes a third of a second for the list of so many. */
export const MAX_FRAMES = 10_000

/** Why an image is not decoded. It is final: the same bytes are refused each time. */
export class Refusal extends Error {
  readonly code: 'CORRUPT_IMAGE' | 'IMAGE_TOO_SMALL' | 'TOO_MANY_PIXELS' | 'UNSUPPORTED_FORMAT'
  constructor(code: Refusal['code'], message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'Refusal'
    this.code = code
  }
}
