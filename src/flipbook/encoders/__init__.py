"""Encoders turn what people have (text, pictures, sound) into rows and maps that enter a network by its doors."""
