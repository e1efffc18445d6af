import { RekognitionClient } from '@aws-sdk/client-rekognition'
import type { Vision } from '../../packages/vision/index.ts'
import { startRekognition } from '../../rekognition/service.ts'
import { clientOptions } from '../../shared/aws.ts'

/** Has the SDK ask an embedded Rekognition that has seen nothing yet, over its port. */
export async function withSdk(
  vision: Vision,
  work: (client: RekognitionClient) => Promise<void>,
): Promise<void> {
  const readObject = async () => undefined
  const server = await startRekognition({ port: 0, readObject, rekognition: { vision } })
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
  const client = new RekognitionClient(
    clientOptions({ endpoint: server.endpoint, region: 'us-east-1', credentials }),
  )
  try {
    await work(client)
  } finally {
    client.destroy()
    await server.stop()
  }
}
