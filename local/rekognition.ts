import {
  createRekognition as createService,
  type JsonService,
  type RekognitionOptions,
  startService,
} from '../packages/embedded-aws/index.ts'
import { imageOpener } from './images.ts'

/** Who answers as Rekognition, and how fast. */
export type StandInOptions = Omit<RekognitionOptions, 'readObject' | 'openImage'> &
  Partial<Pick<RekognitionOptions, 'openImage'>>

/** The embedded Rekognition, with the worker's eyes. */
export const createRekognition = (
  options: StandInOptions & Pick<RekognitionOptions, 'readObject'>,
): JsonService => createService({ openImage: imageOpener(), ...options })

/** Rekognition alone, for a system whose other services are elsewhere. */
export const startRekognition = ({
  readObject,
  rekognition,
  ...port
}: Pick<Parameters<typeof startService>[0], 'port' | 'host' | 'allowedHosts'> &
  Pick<RekognitionOptions, 'readObject'> & { rekognition: StandInOptions }): ReturnType<
  typeof startService
> =>
  startService({
    ...port,
    name: 'RekognitionService',
    service: createRekognition({ readObject, ...rekognition }),
  })
